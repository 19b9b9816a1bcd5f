"""Making a reader's confidence honest, on samples that it was not fitted on.

Probabilities: one temperature divides all scores, the one under which validation answers are least
surprising (Guo et al. 2017). As in Platt (1999), one more sample is assumed that might be anything:
without it, answers that are all right would make every probability 0 or 1. Quantities: the interval
is as wide as validation errors were, by split conformal prediction (Lei et al. 2018): it holds for
`level` of all new samples like those.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_COLDEST, _HOTTEST, _STEPS = 1e-3, 1e3, 80


def temperature_of(scores: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """The temperature that makes labels most likely; the loss has one minimum only.

    Args:
        scores: logits of samples that were not fitted on.
        labels: their columns.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 2 * torch.randn(9000, 3, generator=generator)
        >>> labels = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
        >>> round(temperature_of(5 * logits, labels))
        5
    """
    wide, doubt = scores.double(), 1 / (len(scores) + 1)

    def surprise(sharpness: float) -> float:
        scaled = math.exp(sharpness) * wide
        return float(torch.nn.functional.cross_entropy(scaled, labels, label_smoothing=doubt))

    low, high = -math.log(_HOTTEST), -math.log(_COLDEST)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(_STEPS):
        near, far = high - golden * (high - low), low + golden * (high - low)
        if surprise(near) <= surprise(far):
            high = far
        else:
            low = near
    return math.exp(-(low + high) / 2)


def calibration_error(
    probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"], *, bins: int = 15
) -> float:
    """Expected calibration error: how far confidence is from accuracy, over bins of confidence.

    Args:
        probabilities: of each class.
        labels: the true columns; -1 is never right.
        bins: number of equally wide bins.

    Example:
        >>> sure = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
        >>> calibration_error(sure, torch.tensor([0, 0, 0, 1]))
        0.25
    """
    confidence, answer = probabilities.double().max(1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = confidence - (answer == labels).double()
    return float(gap.new_zeros(bins).index_add(0, place, gap).abs().sum() / len(labels))


def conformal(errors: Float[Tensor, " n"], level: float) -> float:
    """The bound that a share of new samples stays below, if they are like these.

    Args:
        errors: absolute errors, or distances, of samples that were not fitted on.
        level: the share. Where the samples are too few for it, their largest is taken.

    Example:
        >>> conformal(torch.arange(1.0, 100.0), 0.95)
        95.0
    """
    rank = math.ceil((len(errors) + 1) * level)
    return float(errors.double().sort().values[min(rank, len(errors)) - 1])
