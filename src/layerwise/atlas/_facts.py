"""What is known of a reader: where it comes from, what it scores, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

DRAWS = 10
"""How many other draws of few samples are tried, to say how much hangs on the draw."""


@final
@dataclass(frozen=True)
class Quality:
    """What a reader is worth on test samples, which neither fitted nor chose anything.

    Args:
        metric: of the score, accuracy or R2.
        score: on all of them.
        low: lower end of its 95 % interval.
        high: upper end.
        chance: the score of knowing nothing.
        calibration: expected calibration error before and after; None for a quantity.
        covered: share of them in their interval; None for classes.
        alarms: share of them called unfamiliar.
        draws: lowest and highest score where other samples of each class fitted and chose; None
            where all of them did.
    """

    metric: str
    score: float
    low: float
    high: float
    chance: float
    calibration: tuple[float, float] | None
    covered: float | None
    alarms: float
    draws: tuple[float, float] | None = None


@final
@dataclass(frozen=True)
class Facts:
    """Everything about a reader that is no tensor; its card and `reader.json` are made from it.

    Pairs are before and after the cut.

    Args:
        target: what it reads.
        classes: names of the classes in the order of its probabilities; empty for a quantity.
        network: the network it was cut from.
        source: the words that open that.
        card: what is known of that.
        weights_sha256: of the whole network.
        preparation: what is done to a sample first, in words.
        columns: layer and pooling of each part of a row of features.
        fusion: how the layers were combined; empty for one layer.
        readout: name of the head.
        setting: penalty or number of neighbours that validation chose.
        gone: what was cut away from the network.
        shells: parts that were cut away still stand there, without tensors.
        note: what could not be cut, in words.
        data: where the samples come from.
        data_sha256: over their content.
        seed: of the split.
        samples: on the training, validation and test side.
        set_aside: samples that could not be read.
        truncated: texts that were longer than the network takes.
        quality: on test samples.
        level: share of new samples that intervals, and the bound of the familiar, are to hold.
        parameters: of the network.
        bytes: of the network.
        batches: sizes of batches that were timed.
        milliseconds: of one such batch, for each size.
        made: when.
        versions: of Python and the packages that shape the numbers.
        machine: what times were measured on.
        shots: samples of each class that fitted, and at most that chose; None where all did.
    """

    target: str
    classes: tuple[str, ...]
    network: str
    source: str
    card: str
    weights_sha256: str
    preparation: str
    columns: tuple[tuple[str, str], ...]
    fusion: str
    readout: str
    setting: float | None
    gone: tuple[str, ...]
    shells: bool
    note: str
    data: str
    data_sha256: str
    seed: int
    samples: tuple[int, int, int]
    set_aside: int
    truncated: int
    quality: Quality
    level: float
    parameters: tuple[int, int]
    bytes: tuple[int, int]
    batches: tuple[int, ...]
    milliseconds: tuple[tuple[float, float], ...]
    made: str
    versions: dict[str, str]
    machine: dict[str, str]
    shots: int | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Addresses of the layers it reads."""
        return tuple(dict.fromkeys(layer for layer, _ in self.columns))
