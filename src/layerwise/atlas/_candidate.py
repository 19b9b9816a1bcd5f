"""A row of a leaderboard: one way to read a target, what it is worth and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Candidate:
    """One way to read a target.

    Args:
        target: what is read.
        network: name of the network.
        layer: address.
        pooling: name of the pooling.
        readout: name of the readout.
        validation: the score that ranks.
        test: the score that is reported.
        low: lower end of its 95 % interval.
        high: upper end.
        milliseconds: of a sample, in a batch of one and of 32.
        parameters: that are kept.
        bytes: that are kept.
        affordable: within the budget.
        level: cannot be told from the best that is affordable.
        front: no other candidate has as high a score in less time.
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
    milliseconds: tuple[float, float]
    parameters: int
    bytes: int
    affordable: bool
    level: bool
    front: bool
