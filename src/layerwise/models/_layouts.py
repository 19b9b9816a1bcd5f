"""Which axis means what, by evidence.

The batch axis is the one that follows the number of samples; the axes that follow the size of the
input are places; what is left is the channel. Where a network takes one size only, its parameters
decide: a leaf inside with an output of the same shape, whose class fixes its channel axis, or the
one axis as long as the layer's own biases and norms. What stays open is said, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from layerwise.models._layer import Layout

Shape = tuple[int, ...]
Grid = tuple[int, int]

_MOST_PREFIX_TOKENS = 64


@final
@dataclass(frozen=True)
class Evidence:
    """What was seen of one tensor.

    Args:
        two: shape with two samples.
        three: shape with three samples.
        resized: shape with two samples of another size, where the network takes one.
        hint: channel axis of a leaf with the same shape, where there is one.
        widths: sizes of the one-dimensional parameters in and beside the layer.
        grids: `(two, resized)` of the maps that flowed before, newest first, as (h, w) pairs.
        places: whether the input has places in two dimensions, as images have.
    """

    two: Shape
    three: Shape | None
    resized: Shape | None
    hint: int | None
    widths: frozenset[int]
    grids: Sequence[tuple[Grid, Grid | None]]
    places: bool


def decide(evidence: Evidence) -> tuple[Layout | None, str]:
    """The layout, or None and the reason why it stays open."""
    two, three = evidence.two, evidence.three
    if three is None or len(three) != len(two):
        return None, "it did not run the same way for two and for three samples"
    if len(two) < 2:
        return None, f"its output {list(two)} has no channel axis"
    follows = [axis for axis in range(len(two)) if two[axis] != three[axis]]
    if not follows:
        return None, f"its output {list(two)} does not depend on the number of samples"
    batch = follows[0]
    if len(follows) > 1 or two[batch] != 2 or three[batch] != 3:
        return None, (
            f"samples are folded into another axis: {list(two)} for two, {list(three)} for three"
        )
    rest = [axis for axis in range(len(two)) if axis != batch]
    if len(rest) == 1:
        return Layout("vector", batch, rest[0]), ""
    channel, doubt = _channel(evidence, rest)
    if channel is None:
        return None, doubt
    places = [axis for axis in rest if axis != channel]
    if len(places) == 2 and not evidence.places:
        return None, f"its output {list(two)} has two axes of places, which only images have"
    if len(places) == 2:
        grid = (two[places[0]], two[places[1]])
        return Layout("map", batch, channel, grid=grid), ""
    prefix, found = _prefix(evidence, places) if len(places) == 1 and evidence.places else (0, None)
    return Layout("tokens", batch, channel, prefix, found), ""


def _channel(evidence: Evidence, rest: list[int]) -> tuple[int | None, str]:
    two, resized = evidence.two, evidence.resized
    if resized is not None and len(resized) == len(two):
        fixed = [axis for axis in rest if two[axis] == resized[axis]]
        if len(fixed) == 1:
            return fixed[0], ""
        rest = fixed or rest
    long = [axis for axis in rest if two[axis] > 1]
    if len(long) == 1:
        return long[0], ""
    if evidence.hint in rest:
        return evidence.hint, ""
    named = [axis for axis in rest if two[axis] in evidence.widths]
    if len(named) == 1:
        return named[0], ""
    return None, (
        f"its output {list(two)} has {len(rest)} axes that could be the channels, and neither "
        f"another input size nor the parameters tell which"
    )


def _prefix(evidence: Evidence, places: list[int]) -> tuple[int, tuple[int, int] | None]:
    axis = places[0]
    length = evidence.two[axis]
    resized = evidence.resized[axis] if evidence.resized is not None else None
    for grid, other in evidence.grids:
        prefix = length - grid[0] * grid[1]
        if not 0 <= prefix <= _MOST_PREFIX_TOKENS:
            continue
        if resized is None or other is None or resized - other[0] * other[1] == prefix:
            return prefix, grid
    return 0, None
