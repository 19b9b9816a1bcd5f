"""The samples that say most about what a unit looks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@final
@dataclass(frozen=True)
class Exemplars:
    """The strongest samples of each unit, the strongest first.

    Args:
        samples: which they are.
        values: how strongly they excite the unit.
    """

    samples: Int[Tensor, "u k"]
    values: Float[Tensor, "u k"]

    def purity(self, labels: Int[Tensor, " n"]) -> Float[Tensor, " u"]:
        """Share of each unit's samples that belong to its most frequent class.

        Args:
            labels: class of every sample, counted from 0.
        """
        found = labels.to(self.samples.device)[self.samples]
        same = (found.unsqueeze(2) == found.unsqueeze(1)).sum(dim=2).amax(dim=1)
        return same.to(self.values.dtype) / found.shape[1]


def exemplars(features: Float[Tensor, "n u"], *, count: int = 10) -> Exemplars:
    """Find the samples that excite each unit most.

    Args:
        features: one column for each unit: channels, concepts or latents.
        count: samples of each, as far as there are so many.

    Raises:
        LayerwiseError: no samples, values that are not finite, or `count` below 1.

    Example:
        >>> import torch
        >>> exemplars(torch.tensor([[0.0, 3.0], [2.0, 1.0], [1.0, 0.0]]), count=2).samples.tolist()
        [[1, 2], [0, 1]]
    """
    require_finite(features)
    if count < 1 or len(features) == 0:
        raise LayerwiseError(f"{count} exemplars of {len(features)} samples; give at least 1 each")
    values, samples = features.T.topk(min(count, len(features)), dim=1)
    return Exemplars(samples, values)
