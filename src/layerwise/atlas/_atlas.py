"""The answer to "which layer?": everything that was measured, and what follows from it.

An `Atlas` holds plain values only, so that `atlas.json` says the same thing as the object and both
can be opened years later without this library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from layerwise.atlas._candidate import Candidate
from layerwise.atlas._inside_rows import Inside, Looked
from layerwise.atlas._language_rows import Language
from layerwise.atlas._price import UNBOUNDED, Budget


@final
@dataclass(frozen=True)
class LayerRow:
    """A layer of a network: what it costs to get there, and the shape of what it holds.

    Costs count everything that has run once the layer's output exists. `milliseconds` is measured
    time per sample; `bytes` is the size of one sample's pooled features. The three dimensions are
    None where there are too few samples. `refused` says why a layer was not read (else empty).
    """

    network: str
    layer: str
    kind: str
    position: int
    depth: float
    layout: str
    shape: tuple[int, ...]
    width: int
    parameters: int
    flops: int
    milliseconds: float
    bytes: int
    effective_rank: float | None = None
    participation_ratio: float | None = None
    intrinsic_dimension: float | None = None
    refused: str = ""


@final
@dataclass(frozen=True)
class TargetRow:
    """What was to be read: `kind` is `class` or `number`; `chance` the score of knowing nothing."""

    target: str
    kind: str
    classes: tuple[str, ...]
    metric: str
    chance: float
    train: int
    validation: int
    test: int


@final
@dataclass(frozen=True)
class Score:
    """One readout on one layer for one target.

    `validation` chose, `test` reports; both are means over the seeds, in `metric` (accuracy or R2).
    `low` and `high` are the 95 % bootstrap interval of `test`. `penalty` is the regularisation.
    """

    target: str
    network: str
    layer: str
    pooling: str
    readout: str
    validation: float
    test: float
    low: float
    high: float
    spread: float
    penalty: float | None = None


@final
@dataclass(frozen=True)
class Collapse:
    """Neural collapse of a layer for a target with classes; None where it is not defined.

    Where `noise`, the share of chance in the distances of class means, is above some tenth, the
    classes hold too few samples and `nc1` is too low.
    """

    target: str
    network: str
    layer: str
    pooling: str
    nc1: float | None
    nc2_equinorm: float | None
    nc2_coherence: float | None
    nc3: float | None
    nc4: float | None
    noise: float | None = None


@final
@dataclass(frozen=True)
class Control:
    """What the same readout gives where there is nothing to find, and without training.

    `permuted` is the test score after the training labels were shuffled. `random_weights` is the
    score of the same layer in the same architecture with random weights, `trained` the score of
    the real network on just the same `samples`.
    """

    target: str
    network: str
    layer: str
    pooling: str
    permuted: float
    permuted_low: float
    permuted_high: float
    random_weights: float | None = None
    trained: float | None = None
    samples: int = 0


@final
@dataclass(frozen=True)
class Choice:
    """The answer for one target.

    `best` was chosen on validation within the budget, `last` is the network's last layer, and
    `cheapest` the cheapest candidate within one standard error of the best on validation, unless
    test tells the two apart. `gain` is best minus last on test, paired over the same samples, with
    its interval. `indistinguishable` are all candidates whose gap to the best on validation has an
    interval that reaches zero. `enough` is False where the data are too few to tell; `words` says
    all of it in a sentence or three, `code` is Python that uses the answer.
    """

    target: str
    best: Score
    last: Score
    cheapest: Score
    gain: float
    gain_low: float
    gain_high: float
    saved: float
    indistinguishable: tuple[tuple[str, str, str, str], ...]
    enough: bool
    words: str
    code: str


@final
@dataclass(frozen=True)
class Similarity:
    """Unbiased linear CKA between all layers of two networks (or one network with itself)."""

    network: str
    other: str
    layers: tuple[str, ...]
    other_layers: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]


@final
@dataclass(frozen=True)
class Shown:
    """One of the samples that the page shows. `picture` is a data URI; `text` is an excerpt."""

    name: str
    key: str
    picture: str
    text: str
    split: str
    targets: dict[str, str]


@final
@dataclass(frozen=True)
class LayerMap:
    """The shown samples in two dimensions at one layer: one `(x, y)` in 0..1 for each of them."""

    network: str
    layer: str
    places: tuple[tuple[float, float], ...]


@final
@dataclass(frozen=True)
class Neighbours:
    """For each of a few shown samples (`queries`), the nearest other shown samples at one layer."""

    network: str
    layer: str
    queries: tuple[int, ...]
    nearest: tuple[tuple[int, ...], ...]


@final
@dataclass(frozen=True)
class LayerPicture:
    """What one layer sees in one shown sample: first three principal components as colours."""

    network: str
    layer: str
    sample: int
    picture: str


@final
@dataclass(frozen=True)
class NetworkRow:
    """A network of the survey, its weights by hash, and what the audit refused or remarked."""

    network: str
    source: str
    modality: str
    card: str
    parameters: int
    weights_sha256: str
    preparation: str
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Provenance:
    """All that is needed to make the atlas again, and what it took."""

    command: str
    made: str
    versions: dict[str, str]
    machine: dict[str, str]
    seeds: tuple[int, ...]
    data: str
    data_sha256: str
    samples: int
    seconds: dict[str, float]
    reused: dict[str, int]


@final
@dataclass(frozen=True)
class Atlas:
    """A survey of networks on data: every layer measured, ranked and priced, and the choice."""

    format: int
    provenance: Provenance
    networks: tuple[NetworkRow, ...]
    targets: tuple[TargetRow, ...]
    layers: tuple[LayerRow, ...]
    scores: tuple[Score, ...]
    choices: tuple[Choice, ...]
    controls: tuple[Control, ...]
    collapse: tuple[Collapse, ...]
    similarity: tuple[Similarity, ...]
    shown: tuple[Shown, ...]
    maps: tuple[LayerMap, ...]
    neighbours: tuple[Neighbours, ...]
    pictures: tuple[LayerPicture, ...]
    set_aside: tuple[tuple[str, str], ...]
    language: tuple[Language, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    budget: Budget = UNBOUNDED
    looked: tuple[Looked, ...] = ()
    inside: tuple[Inside, ...] = ()
    exemplars: tuple[Shown, ...] = ()
