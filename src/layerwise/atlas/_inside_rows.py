"""What a look inside found, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Looked:
    """An input that was looked into: a shown sample, as the network got it.

    `sample` counts within the atlas's shown samples. `picture` is a data URI, `words` are the
    pieces of a text.
    """

    network: str
    sample: int
    picture: str
    words: tuple[str, ...]


@final
@dataclass(frozen=True)
class Concept:
    """A direction that some places of a layer have in common.

    `presence` is its share of all concepts' scores. `heat` says where it is in each input that was
    looked into: `rows` times `columns` digits, from 0 for nowhere to 9 for its most anywhere.
    """

    presence: float
    rows: int
    columns: int
    heat: tuple[str, ...]


@final
@dataclass(frozen=True)
class StandingOut:
    """A unit that singles out a few samples.

    `samples` of the atlas's exemplars excite it most out of the training samples. `selective` is
    how far the strongest test samples stand above the mean, in deviations of training samples.
    Most of the exemplars have `answer` for `target`; so has the share `found` of the strongest
    test samples, and the share `chance` of all of them. Both words are empty where they agree on
    nothing. `picture` is a data URI of what was drawn for the unit, empty where nothing was asked
    for; the unit answers more to it than to the share `above` of all samples.
    """

    unit: int
    selective: float
    samples: tuple[int, ...]
    target: str = ""
    answer: str = ""
    found: float = 0.0
    chance: float = 0.0
    picture: str = ""
    above: float = 0.0


@final
@dataclass(frozen=True)
class Inside:
    """A layer, looked into.

    `left_out` is the share of the layer's length that its concepts leave out of inputs that they
    were not found in; None where there were no others.
    """

    network: str
    layer: str
    left_out: float | None
    concepts: tuple[Concept, ...]
    units: tuple[StandingOut, ...]
