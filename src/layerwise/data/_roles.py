"""What each column of a table is for, as the user says or by the values in it.

Paths end in the suffix of a picture; texts have three words or more on average. Where several
columns would do, the one named `path` or `text` is taken, and without such a name the user is
asked. A column named `split` that holds only words for sides gives the split.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from layerwise.data._columns import kind_of, targets_from
from layerwise.data._folder import SPLIT_WORDS, is_picture
from layerwise.data._samples import Target
from layerwise.errors import LayerwiseError, unknown

_LOOKED_AT = 200
_WORDS = 3

Columns = Mapping[str, Sequence[Any]]


@final
@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for.

    Args:
        sample: column that holds the samples.
        form: whether these are paths of pictures or texts.
        split: column that holds the sides of a given split.
        targets: targets by name, for all rows.
        notes: how this was found, a line each.
    """

    sample: str
    form: Literal["path", "text"]
    split: str | None
    targets: Mapping[str, Target]
    notes: tuple[str, ...]


def roles_of(
    columns: Columns,
    *,
    targets: Sequence[str] | None,
    path_column: str | None,
    text_column: str | None,
    split_column: str | None,
    group_column: str | None,
) -> Roles:
    """Find out what each column is for.

    Raises:
        LayerwiseError: a named column does not exist, or the values do not decide.

    Example:
        >>> table = {"review": ["a fine film indeed", "what a long film"], "stars": [5, 1.5]}
        >>> ask = dict.fromkeys(["targets", "path_column", "text_column"])
        >>> roles = roles_of(table, **ask, split_column=None, group_column=None)
        >>> roles.sample, roles.form, roles.targets["stars"].kind
        ('review', 'text', 'number')
    """
    for name in (path_column, text_column, split_column, group_column):
        if name is not None and name not in columns:
            raise unknown("column", name, columns)
    if path_column is not None and text_column is not None:
        raise LayerwiseError("samples are paths or texts: give path_column= or text_column=")
    split = split_column or _split_by_evidence(columns)
    meant = {words.rpartition(":")[0] or words for words in targets or ()} | set(targets or ())
    others = {n: v for n, v in columns.items() if n not in (split, group_column)}
    form: Literal["path", "text"]
    if path_column is not None:
        sample, form, why = path_column, "path", "as asked"
    elif text_column is not None:
        sample, form, why = text_column, "text", "as asked"
    else:
        free = {name: values for name, values in others.items() if name not in meant}
        sample, form = _sample_by_evidence(free)
        why = "by its values"
    rest = {name: values for name, values in others.items() if name != sample}
    made, notes = targets_from(rest, targets)
    if group_column is not None:
        made = {name: _grouped(t, columns[group_column]) for name, t in made.items()}
    what = "paths of pictures" if form == "path" else "texts"
    return Roles(sample, form, split, made, (f"column {sample!r}: {what} ({why})", *notes))


def sides_of(values: Sequence[Any], column: str) -> list[str]:
    """Sides of a split by the words in a column; an empty word where there is none.

    Raises:
        LayerwiseError: a word is no side.
    """
    words = [str(value or "").strip().lower() for value in values]
    for row, word in enumerate(words):
        if word and word not in SPLIT_WORDS:
            raise LayerwiseError(
                f"column {column!r} holds {values[row]!r}; a split has train, validation and test"
            )
    return [SPLIT_WORDS.get(word, "") for word in words]


def _sample_by_evidence(columns: Columns) -> tuple[str, Literal["path", "text"]]:
    paths = [name for name, values in columns.items() if _share_of_pictures(values) >= 0.5]
    if paths:
        return _one(paths, "path", "paths of pictures"), "path"
    texts = [name for name, values in columns.items() if _words(values) >= _WORDS]
    if texts:
        return _one(texts, "text", "texts"), "text"
    named = [name for name in columns if name.lower() == "text"]
    short = named or [name for name, values in columns.items() if _mostly_different(values)]
    if len(short) == 1:
        return short[0], "text"
    raise LayerwiseError(
        "no column looks like paths of pictures or texts; give path_column= or text_column=, one "
        f"of: {', '.join(columns)}"
    )


def _one(candidates: Collection[str], word: str, what: str) -> str:
    named = [name for name in candidates if name.lower() == word]
    if len(candidates) > 1 and len(named) != 1:
        raise LayerwiseError(
            f"columns {', '.join(map(repr, candidates))} all look like {what}; choose one with "
            f"{word}_column="
        )
    return (named or list(candidates))[0]


def _share_of_pictures(values: Sequence[Any]) -> float:
    texts = _some_texts(values)
    return sum(is_picture(text.strip()) for text in texts) / len(texts) if texts else 0.0


def _words(values: Sequence[Any]) -> float:
    texts = _some_texts(values)
    return sum(len(text.split()) for text in texts) / len(texts) if texts else 0.0


def _mostly_different(values: Sequence[Any]) -> bool:
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    return kind_of(values) == "class" and len(set(texts)) * 2 > len(texts) > 0


def _some_texts(values: Sequence[Any]) -> list[str]:
    """The first texts that are not empty; none where the column is not mostly text."""
    known = [value for value in values if value is not None and value != ""][:_LOOKED_AT]
    texts = [value for value in known if isinstance(value, str)]
    return texts if 2 * len(texts) > len(known) else []


def _split_by_evidence(columns: Columns) -> str | None:
    for name, values in columns.items():
        words = {str(value).strip().lower() for value in values if value not in (None, "")}
        if name.lower() == "split" and len(words) > 1 and words <= set(SPLIT_WORDS):
            return name
    return None


def _grouped(target: Target, values: Sequence[Any]) -> Target:
    """The target with groups; a row without a group is a group of its own."""
    groups = [f"row {i + 1}" if v in (None, "") else str(v) for i, v in enumerate(values)]
    return target.grouped(groups)
