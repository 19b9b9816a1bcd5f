"""What the page's script draws: small JSON, tables by column, repeated words once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from layerwise.atlas._atlas import Atlas

_TABLES = (
    *("layers", "scores", "candidates", "controls", "collapse", "pictures", "shown"),
    "exemplars",
)
_OTHERS = ("networks", "targets", "choices", "neighbours", "language", "budget", "looked", "inside")
_DRAWN = ("similarity", "told", "maps")


def payload(atlas: Atlas) -> str:
    r"""The JSON that stands in the page, safe inside a `<script>` element.

    Numbers keep five digits, and three where they are only drawn; `atlas.json` has all of them.

    Args:
        atlas: what the page shows.

    Example:
        >>> from layerwise.atlas._atlas import Provenance, Shown
        >>> made = Provenance("", "", {}, {}, (), "photos", "", 0, {}, {})
        >>> shown = (Shown("</script>", "", "", "", "", {}),)
        >>> "</" in payload(Atlas(1, made, *[()] * 7, (), shown, *[()] * 4))
        False
    """
    return compact(
        {name: getattr(atlas, name) for name in _TABLES},
        {name: getattr(atlas, name) for name in (*_OTHERS, "similarity", "maps")},
    )


def compact(tables: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The JSON of rows and other values, as small as it can be.

    Args:
        tables: rows by name; they are stored by column. Every page has the same tables, of which
            some may be empty.
        others: anything else by name.
    """
    content: dict[str, Any] = {name: _columns(rounded(tables.get(name, ()), 5)) for name in _TABLES}
    content |= dict.fromkeys(_OTHERS, ())
    content |= {name: rounded(value, 3 if name in _DRAWN else 5) for name, value in others.items()}
    return embedded(content)


def embedded(content: object) -> str:
    r"""Plain values as JSON that is safe inside a `<script>` element.

    Args:
        content: dicts, lists, texts and finite numbers.

    Example:
        >>> embedded(["</script>"])
        '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def rounded(value: object, digits: int) -> Any:
    """Plain values with so many digits; numbers that are not finite become words.

    Args:
        value: anything of dicts, sequences, dataclasses, texts and numbers.
        digits: that are kept.
    """
    return json.loads(
        json.dumps(value, default=vars),
        parse_float=lambda number: float(f"{float(number):.{digits}g}"),
        parse_constant=str,
    )


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _column(values: list[Any]) -> Any:
    if not all(isinstance(value, str) for value in values):
        return values
    words = {word: place for place, word in enumerate(dict.fromkeys(values))}
    return {"words": list(words), "at": [words[value] for value in values]}
