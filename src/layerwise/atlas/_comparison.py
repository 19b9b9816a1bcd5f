"""Two networks side by side: what `compare` found, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from layerwise.atlas._atlas import LayerRow, NetworkRow, Provenance, Similarity


@final
@dataclass(frozen=True)
class Match:
    """A layer and the layer of the other network that is most like it.

    `cka` is their unbiased linear CKA, `low` and `high` its 95 % interval; `apart` is how much
    deeper the partner lies, in relative depth. `told` is the share of the partner's variance that
    a linear map from this layer predicts for samples left out.
    """

    network: str
    layer: str
    depth: float
    other: str
    other_layer: str
    other_depth: float
    cka: float
    low: float
    high: float
    apart: float
    told: float | None


@final
@dataclass(frozen=True)
class Same:
    """One layer of two networks of the same architecture.

    `changed` is the length of the difference of its weights over that of the first network's;
    None where the layer has none of its own.
    """

    layer: str
    depth: float
    cka: float
    low: float
    high: float
    told: float | None
    changed: float | None


@final
@dataclass(frozen=True)
class Looking:
    """How far the heads of an attention layer look: in `pixels` or `tokens`."""

    network: str
    layer: str
    depth: float
    distances: tuple[float, ...]
    unit: str


@final
@dataclass(frozen=True)
class Placed:
    """Whether the places of a layer are most like the patch of the picture beneath them.

    `found` is the share of those that are, `chance` what it would be by chance, `distance` the
    mean way to the most similar patch as a share of the picture's side.
    """

    network: str
    layer: str
    depth: float
    found: float
    chance: float
    distance: float


@final
@dataclass(frozen=True)
class Probed:
    """How well a class is read off single places of a layer, and off their mean.

    Accuracies, by classifiers fitted without the sample, with their 95 % intervals; `gain` is by
    how much the mean tells more than a single place. `prefix` is the best token that is no place,
    such as the class token; None where there is none.
    """

    network: str
    layer: str
    depth: float
    target: str
    samples: int
    single: float
    single_low: float
    single_high: float
    pooled: float
    pooled_low: float
    pooled_high: float
    gain: float
    gain_low: float
    gain_high: float
    prefix: float | None


@final
@dataclass(frozen=True)
class Comparison:
    """Two networks on the same data.

    `similarity` holds CKA within and between them, `told` R2 of linear maps from one to the other
    and back. The two diagonalities say how far layers of equal relative depth belong together: 1
    for all, 0 for as many as by chance. `same` has rows where the architecture is the same.
    """

    format: int
    provenance: Provenance
    networks: tuple[NetworkRow, ...]
    layers: tuple[LayerRow, ...]
    similarity: tuple[Similarity, ...]
    told: tuple[Similarity, ...]
    diagonality: float | None
    told_diagonality: float | None
    matches: tuple[Match, ...]
    same: tuple[Same, ...]
    looking: tuple[Looking, ...]
    placed: tuple[Placed, ...]
    probed: tuple[Probed, ...]
    set_aside: tuple[tuple[str, str], ...]
    enough: bool
    words: str
