"""What the page's script draws: small JSON, tables by column, repeated words once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from layerwise.atlas._atlas import Atlas
from layerwise.atlas._plain import to_plain


def payload(atlas: Atlas) -> str:
    r"""The JSON that stands in the page, safe inside a `<script>` element.

    Numbers keep five digits; `atlas.json` has all of them.

    Args:
        atlas: what the page shows.

    Example:
        >>> from layerwise.atlas._atlas import Provenance, Shown
        >>> made = Provenance("", "", {}, {}, (), "photos", "", 0, {}, {})
        >>> shown = (Shown("</script>", "", "", "", "", {}),)
        >>> "</" in payload(Atlas(1, made, *[()] * 7, (), shown, *[()] * 4))
        False
    """
    content = {
        "networks": to_plain(atlas.networks),
        "targets": to_plain(atlas.targets),
        "choices": to_plain(atlas.choices),
        "layers": _columns(atlas.layers),
        "scores": _columns(atlas.scores),
        "controls": _columns(atlas.controls),
        "collapse": _columns(atlas.collapse),
        "pictures": _columns(atlas.pictures),
        "shown": _columns(atlas.shown),
        "similarity": to_plain(atlas.similarity),
        "maps": to_plain(atlas.maps),
        "neighbours": to_plain(atlas.neighbours),
    }
    text = json.dumps(_short(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _columns(rows: Sequence[Any]) -> dict[str, Any]:
    if not rows:
        return {}
    return {
        field.name: _column([to_plain(getattr(row, field.name)) for row in rows])
        for field in fields(rows[0])
    }


def _column(values: list[Any]) -> Any:
    if not all(isinstance(value, str) for value in values):
        return values
    words = {word: place for place, word in enumerate(dict.fromkeys(values))}
    return {"words": list(words), "at": [words[value] for value in values]}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
