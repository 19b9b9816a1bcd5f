"""Patterns that pick layers: globs, depths, ranges, kinds and regular expressions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._layer import Layer

_BLOCK_LEVEL = ("stem", "block", "final")


def pieces(pattern: str | Iterable[str]) -> list[str]:
    """The single patterns of one text, or of several, that joins them by commas."""
    texts = [pattern] if isinstance(pattern, str) else list(pattern)
    return [piece for text in texts for piece in _parts(text)]


def picked(listed: Sequence[Layer], pattern: str) -> Sequence[Layer] | None:
    """What a single pattern picks; None where it is a plain address.

    Raises:
        LayerwiseError: nothing matches, or the pattern is none.
    """
    ranged = re.fullmatch(r"(.+)\[(-?\d*):(-?\d*)\]", pattern)
    found: Sequence[Layer]
    if pattern == "all":
        found = listed
    elif pattern == "blocks":
        found = [layer for layer in listed if layer.kind in _BLOCK_LEVEL]
    elif pattern == "stages":
        found = _of_kind(listed, "stage") or _of_kind(listed, "block")
    elif pattern.startswith("kind:"):
        found = _of_kind(listed, pattern[5:])
    elif pattern.startswith("re:"):
        found = _matching(listed, pattern)
    elif pattern.endswith("%"):
        found = _at_depth(_of_kind(listed, "block"), pattern)
    elif ranged:
        found = _ranged(listed, *ranged.groups())
    elif any(sign in pattern for sign in "*?"):
        found = _globbed(listed, pattern)
    else:
        return None
    return found or _nothing(listed, pattern)


def _parts(text: str) -> list[str]:
    if text.startswith("re:"):
        return [text]
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _of_kind(listed: Sequence[Layer], kind: str) -> list[Layer]:
    return [layer for layer in listed if layer.kind == kind]


def _matching(listed: Sequence[Layer], pattern: str) -> list[Layer]:
    try:
        expression = re.compile(pattern[3:])
    except re.error as error:
        raise LayerwiseError(f"{pattern!r} is no regular expression: {error}") from error
    return [layer for layer in listed if expression.fullmatch(layer.name)]


def _at_depth(blocks: Sequence[Layer], pattern: str) -> list[Layer]:
    try:
        depth = float(pattern[:-1]) / 100
    except ValueError as error:
        raise LayerwiseError(f"{pattern!r} is no depth; write '50%'") from error
    if not 0 <= depth <= 1:
        raise LayerwiseError(f"depth {pattern!r} is outside 0% to 100%")
    place = round(depth * (len(blocks) - 1))
    return list(blocks[place : place + 1])


def _ranged(listed: Sequence[Layer], path: str, start: str, stop: str) -> list[Layer]:
    if path == "blocks":
        members = _of_kind(listed, "block")
    else:
        numbered = re.compile(re.escape(path) + r"\.\d+(\[.*\])?")
        members = [layer for layer in listed if numbered.fullmatch(layer.name)]
    return members[slice(int(start) if start else None, int(stop) if stop else None)]


def _globbed(listed: Sequence[Layer], pattern: str) -> list[Layer]:
    """`*` is one step of a path, `**` any number."""
    steps = fnmatch.translate(pattern.replace("**", "\0").replace("*", "\1"))
    expression = re.compile(steps.replace("\\\0", ".*").replace("\0", ".*").replace("\1", "[^.]*"))
    return [layer for layer in listed if expression.match(layer.name)]


def _nothing(listed: Sequence[Layer], pattern: str) -> NoReturn:
    if pattern.startswith("kind:"):
        raise unknown("kind of layer", pattern[5:], sorted({layer.kind for layer in listed}))
    plain = re.sub(r"[*?\[\]:\\^$()+|]|re:", "", pattern)
    error = unknown("layer", plain, [layer.name for layer in listed])
    raise LayerwiseError(f"pattern {pattern!r} matches nothing: {error}")
