"""What probing found: for every layer and readout, the answer to every held-out sample."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.measures._bootstrap import Interval, bootstrap_mean, bootstrap_r2

Key = TypeVar("Key", bound=Hashable)
"""What a layer is called: its name, or a tuple of network, layer and pooling."""


@final
@dataclass(frozen=True)
class Reading(Generic[Key]):
    """One readout of one layer.

    Args:
        layer: as in the features that were given.
        readout: its name.
        setting: the penalty or number of neighbours that was chosen, if there was a choice.
    """

    layer: Key
    readout: str
    setting: float | None


@final
@dataclass(frozen=True)
class Marks:
    """What all readings answered for one side, beside the truth.

    Args:
        rows: indices of the samples.
        truth: int64 classes or float64 quantities.
        answers: one column for each reading.
    """

    rows: Int[Tensor, " n"]
    truth: Tensor
    answers: Tensor

    @property
    def right(self) -> Bool[Tensor, "n m"]:
        """Which answers are right; for classes only."""
        return self.answers == self.truth[:, None]

    @property
    def scores(self) -> Float[Tensor, " m"]:
        """Accuracy or R2 of every reading."""
        if not self.truth.is_floating_point():
            return self.right.double().mean(dim=0)
        unexplained = (self.answers - self.truth[:, None]).square().sum(dim=0)
        return 1 - unexplained / (self.truth - self.truth.mean()).square().sum()

    def intervals(
        self, *, groups: Sequence[Hashable] | None = None, generator: torch.Generator | None = None
    ) -> Interval:
        """The scores with their 95 % intervals.

        Args:
            groups: of these samples; those of one group are drawn together.
            generator: for the draws.
        """
        if self.truth.is_floating_point():
            return bootstrap_r2(self.answers, self.truth, groups=groups, generator=generator)
        return bootstrap_mean(self.right.double(), groups=groups, generator=generator)

    def lead(
        self,
        reading: int,
        *,
        groups: Sequence[Hashable] | None = None,
        generator: torch.Generator | None = None,
    ) -> Interval:
        """By how much one reading scores higher than each, paired, with its 95 % interval.

        Args:
            reading: its column.
            groups: of these samples; those of one group are drawn together.
            generator: for the draws.
        """
        first = self.answers[:, [reading]].expand_as(self.answers)
        if self.truth.is_floating_point():
            return bootstrap_r2(
                first, self.truth, other=self.answers, groups=groups, generator=generator
            )
        right = first == self.truth[:, None]
        return bootstrap_mean(
            right.double(), other=self.right.double(), groups=groups, generator=generator
        )


@final
@dataclass(frozen=True)
class ProbeTable(Generic[Key]):
    """All readings of one target.

    Args:
        target: its name.
        metric: of the scores.
        readings: in the order of the columns of all marks.
        validation: to choose by.
        test: to report.
        permuted: test scores after fitting to permuted answers, one row for each permutation.
            `bootstrap_mean` of them is chance.
    """

    target: str
    metric: Literal["accuracy", "R2"]
    readings: tuple[Reading[Key], ...]
    validation: Marks
    test: Marks
    permuted: Float[Tensor, "p m"]

    @property
    def best(self) -> int:
        """Column of the reading that scores highest on validation; the first of equal ones."""
        return int(self.validation.scores.argmax())
