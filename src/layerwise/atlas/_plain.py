"""Frozen dataclasses as plain JSON values, and back again by their annotations.

JSON has no word for numbers that are not finite: they stand as the strings `NaN`, `Infinity` and
`-Infinity`, and are numbers again afterwards.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


class WrongShape(Exception):
    """A value is not what the annotation says; the message says where."""


def to_plain(value: Any) -> Any:
    """Turn dataclasses and tuples into dicts and lists, all the way down.

    Args:
        value: a dataclass of strings, numbers, tuples, dicts, None and other dataclasses.

    Example:
        >>> to_plain((1, float("nan"), {"a": (None,)}))
        [1, 'NaN', {'a': [None]}]
    """
    return json.loads(json.dumps(value, default=vars), parse_constant=str)


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Turn what `to_plain` gave into the kind of value it was.

    Args:
        kind: a dataclass, tuple, dict, `str`, `int`, `float`, `bool`, or one of them or None.
        value: the plain value.
        where: its name, for the error.

    Raises:
        WrongShape: the value does not fit.

    Example:
        >>> from_plain(tuple[float | None, ...], [1, None, "Infinity"], "numbers")
        (1.0, None, inf)
    """
    inner = get_args(kind)
    if get_origin(kind) is UnionType:
        return None if value is None else from_plain(inner[0], value, where)
    if is_dataclass(kind):
        return _row(kind, _expect(dict, value, where), where)
    if get_origin(kind) is dict:
        items = _expect(dict, value, where).items()
        return {name: from_plain(inner[1], item, f"{where}.{name}") for name, item in items}
    if get_origin(kind) is tuple:
        return _tuple(inner, _expect(list, value, where), where)
    if kind is float:
        word = isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}
        return float(value if word else _expect((int, float), value, where))
    return _expect(kind, value, where)


def _row(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if missing := sorted(needed - value.keys()):
        raise WrongShape(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - hints.keys()):
        raise WrongShape(f"{where} has an unknown {', '.join(unknown)}")
    return kind(**{k: from_plain(hints[k], item, f"{where}.{k}") for k, item in value.items()})


def _tuple(kinds: tuple[Any, ...], value: list[Any], where: str) -> tuple[Any, ...]:
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise WrongShape(f"{where} has {len(value)} entries and not {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(from_plain(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)


def _expect(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise WrongShape(f"{where} is {str(value)[:40]!r}")
    return value
