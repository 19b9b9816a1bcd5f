"""Columns become targets: which hold classes, which numbers, and which neither, by stated rules.

1. Missing are None, NaN, an empty cell and, in a column of numbers, `NA`, `N/A`, `NaN`, `null` and
   `None` in any case; infinite numbers count as missing.
2. A column whose other values are all numbers holds `number`s, unless they are at most 20 different
   integers that come 5 times each on average: those are a `class` (digits, ratings, flags).
3. Everything else holds a `class`.

A target may be asked for as `name:class` or `name:number`, which overrules 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch

from layerwise.data._gather import printable
from layerwise.data._samples import Target
from layerwise.errors import LayerwiseError, unknown

_NO_NUMBER = frozenset({"", "na", "n/a", "nan", "null", "none"})
_CLASS_INTEGERS = 20
_TIMES_EACH = 5


def class_target(name: str, values: Sequence[Any]) -> Target:
    """Make a target of class names; None and empty names are missing.

    Example:
        >>> target = class_target("animal", ["dog", "cat", None, "dog"])
        >>> target.classes, target.values.tolist()
        (('cat', 'dog'), [1, 0, -1, 1])
    """
    words = [None if _missing(value) else _word(value) for value in values]
    classes = sorted({word for word in words if word is not None}, key=_order)
    index = {word: i for i, word in enumerate(classes)}
    indices = [-1 if word is None else index[word] for word in words]
    return Target(name, "class", torch.tensor(indices, dtype=torch.int64), tuple(classes))


def number_target(name: str, values: Sequence[Any]) -> Target:
    """Make a target of numbers; what is missing or infinite becomes NaN.

    Raises:
        LayerwiseError: a value is neither missing nor a number.
    """
    numbers = [_number(value) for value in values]
    for row, number in enumerate(numbers):
        if number is None:
            raise LayerwiseError(
                f"column {name!r} mixes numbers with words (row {row + 1} holds "
                f"{str(values[row])[:40]!r}); clean it, or ask for '{name}:class'"
            )
    return Target(name, "number", torch.tensor(numbers, dtype=torch.float64))


def kind_of(values: Sequence[Any]) -> Literal["class", "number"]:
    """Tell by the values whether a column holds classes or numbers.

    Example:
        >>> kind_of(["1", "2"] * 10), kind_of(["0.5", "1.5", "NA"]), kind_of(["a", 1, 2])
        ('class', 'number', 'class')
    """
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None and not math.isnan(number)]
    if None in numbers or not known or any(isinstance(value, bool) for value in values):
        return "class"
    different = set(known)
    integers = all(number.is_integer() for number in different)
    few = len(different) <= _CLASS_INTEGERS and len(known) >= _TIMES_EACH * len(different)
    return "class" if integers and few else "number"


def targets_from(
    columns: Mapping[str, Sequence[Any]], asked: Sequence[str] | None
) -> tuple[dict[str, Target], tuple[str, ...]]:
    """Make targets of columns, and say how each was understood.

    Args:
        columns: values by column name; only columns that may be targets.
        asked: names of the targets, perhaps with `:class` or `:number`; None takes every column
            in which there is something to learn.

    Returns:
        The targets by name, and one line for each column.

    Raises:
        LayerwiseError: an asked column does not exist or holds no value.
    """
    if asked is None:
        return _by_evidence(columns)
    targets, notes = {}, []
    for words in asked:
        name, kind = _asked(words, columns)
        target = _target(name, columns[name], kind)
        if not bool(target.known.any()):
            raise LayerwiseError(f"target {name!r} has no value in any row; choose another column")
        targets[name] = target
        notes.append(_told(target, "as asked" if kind else "by its values"))
    return targets, tuple(notes)


def _by_evidence(
    columns: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, Target], tuple[str, ...]]:
    targets, notes = {}, []
    for name, values in columns.items():
        target = _target(name, values, None)
        known = int(target.known.sum())
        different = len(target.classes or target.values[target.known].unique())
        if different < 2:
            notes.append(f"column {name!r} is no target: {different} different value(s)")
        elif target.kind == "class" and different * 2 > known:
            notes.append(f"column {name!r} is no target: {different} classes in {known} rows")
        else:
            targets[name] = target
            notes.append(_told(target, "by its values"))
    return targets, tuple(notes)


def pick(targets: Mapping[str, Target], asked: Iterable[str] | None) -> dict[str, Target]:
    """The targets that were asked for, of targets that exist already.

    Raises:
        LayerwiseError: a name is not among them.
    """
    if asked is None:
        return dict(targets)
    for name in (wanted := list(asked)):
        if name not in targets:
            raise unknown("target", name, targets)
    return {name: targets[name] for name in wanted}


def _asked(
    words: str, columns: Mapping[str, Sequence[Any]]
) -> tuple[str, Literal["class", "number"] | None]:
    if words in columns:
        return words, None
    name, _, kind = words.rpartition(":")
    if name in columns and kind == "class":
        return name, "class"
    if name in columns and kind == "number":
        return name, "number"
    raise unknown("target", words, columns)


def _target(name: str, values: Sequence[Any], kind: Literal["class", "number"] | None) -> Target:
    if (kind or kind_of(values)) == "number":
        return number_target(name, values)
    return class_target(name, values)


def _told(target: Target, why: str) -> str:
    known = int(target.known.sum())
    if target.kind == "class":
        what = f"{len(target.classes)} classes"
    else:
        what = f"numbers from {target.values[target.known].min():g} to "
        what += f"{target.values[target.known].max():g}"
    missing = len(target.values) - known
    lacking = f", {missing} missing" if missing else ""
    return f"target {target.name!r}: {what} in {known} rows{lacking} ({why})"


def _missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip()


def _number(value: Any) -> float | None:
    """The number a value stands for, NaN where it is missing, None where it is no number."""
    if _missing(value):
        return math.nan
    if isinstance(value, str) and value.strip().lower() in _NO_NUMBER:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else math.nan


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return printable(str(value).strip())


def _order(word: str) -> tuple[float, str]:
    number = _number(word)
    return (math.inf if number is None or math.isnan(number) else number, word)
