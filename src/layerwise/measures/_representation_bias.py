"""How strongly is something represented, whatever it is computed with?

A layer may hold two things that it needs equally and read out equally well, and yet give one of
them ten times the variance: simpler, earlier or more frequent things get more (P233). Regress the
layer on the one-hot label of each thing alone; the variance of that prediction over the variance of
the layer is how strongly it is represented, and ratios of it are the bias. For one-hot labels the
prediction is the class mean, so that everything here comes from sums over classes.

The interval is ours: a jackknife, whose leave-one-out values have a closed form. So is `chance`,
what labels without any meaning would explain on average: it is not small for many classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._bootstrap import Interval, student
from layerwise.measures._checked import centred, checked
from layerwise.measures._left_out import right_when_left_out
from layerwise.measures._principal import principal_axes
from layerwise.search import NearestMean
from layerwise.search._labelled import require_labelled

_ROWS = 4096  # taken into float64 at a time
_FINEST = torch.finfo(torch.float64).eps
"""Products of rows are told apart to this share of the largest."""


@final
@dataclass(frozen=True)
class RepresentationBias:
    """How strongly labels are represented, one column for each kind of label.

    Args:
        explained: share of the layer's variance that the label explains, with its 95 % interval.
        chance: what a label of as many classes without any meaning explains on average.
        units: share of the variance of each channel, NaN for a constant one.
        component: first principal component, counted from 0, whose correlation with the label
            exceeds a half; -1 where none does.
        decodable: accuracy of a linear classifier on samples it was not fitted to.
    """

    explained: Interval
    chance: Float[Tensor, "*m"]
    units: Float[Tensor, "*m d"]
    component: Int[Tensor, "*m"]
    decodable: Float[Tensor, "*m"]


@paper(
    "Learned feature representations are biased by complexity, learning order, position, and more",
    year=2024,
    arxiv="2405.05847",
    no=(233,),
)
def representation_bias(
    features: Float[Tensor, "n d"], labels: Int[Tensor, " n"] | Int[Tensor, "n m"]
) -> RepresentationBias:
    """Measure how much of a layer's variance each kind of label explains.

    The samples should be balanced: where two labels go together each explains what is the other's.

    Args:
        features: at least 3 samples.
        labels: class of each sample, or a column of classes for each thing to be compared.

    Raises:
        LayerwiseError: fewer than 3 samples, missing labels, NaN, fewer than 2 classes, a class
            for every sample, or a layer that says the same of every sample.

    Example:
        >>> bits = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat(9, 1)
        >>> features = bits * torch.tensor([3.0, 1.0])
        >>> [round(x, 6) for x in representation_bias(features, bits).explained.value.tolist()]
        [0.9, 0.1]
    """
    given = checked(features, least=3)
    rows = centred(given)
    spectrum, axes = principal_axes(rows)
    if not spectrum[0] > 0:
        raise LayerwiseError("the layer says the same of every sample; give one that varies")
    rounding = max(rows.shape) * torch.finfo(given.dtype).eps
    seen = spectrum > spectrum[0] * max(rounding**2, len(spectrum) * _FINEST)
    parts = [
        _of_one(rows, spectrum[seen], axes[:, seen], each)
        for each in labels.reshape(len(labels), -1).T
    ]
    value, error, chance, units, component, decodable = (
        torch.stack(part).reshape((*labels.shape[1:], *part[0].shape))
        for part in zip(*parts, strict=True)
    )
    width = student(0.975, len(rows) - 1) * error
    low, high = (value - width).clamp(min=0), (value + width).clamp(max=1)
    return RepresentationBias(
        explained=Interval(*(end.to(given) for end in (value, low, high))),
        chance=chance.to(given),
        units=units.to(given),
        component=component,
        decodable=decodable.to(given),
    )


def _of_one(rows: Tensor, spectrum: Tensor, axes: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    require_labelled(rows, labels)
    index, counts = labels.unique(return_inverse=True, return_counts=True)[1:]
    n, k = len(rows), len(counts)
    if not 2 <= k < n:
        raise LayerwiseError(
            f"{k} classes among {n} samples; give at least 2, and fewer than those"
        )
    nearest = NearestMean.fit(rows, labels)
    total, left = nearest.means.new_zeros(2, rows.shape[1])
    own, lengths = nearest.means.new_zeros(2, n)
    for at in torch.arange(n).split(_ROWS):
        block = rows[at].double()
        within = block - nearest.means[index[at]]
        own[at], lengths[at] = within.square().sum(1), block.square().sum(1)
        total += block.square().sum(0)
        left += within.square().sum(0)
    units = 1 - left / total.where(total > 0, torch.nan)
    value = 1 - left.sum() / total.sum()
    # What is left of both sums without one sample.
    others = counts[index]
    own = own * others / (others - 1).clamp(min=1)
    without = 1 - (left.sum() - own) / (total.sum() - lengths * n / (n - 1))
    error = ((n - 1) * (without - without.mean()).square().mean()).sqrt()
    told = (counts[:, None] * (nearest.means @ axes).square()).sum(0) / spectrum
    first = (told > 0.25).nonzero().flatten()
    component = first[0] if len(first) else torch.tensor(-1, device=rows.device)
    chance = rows.new_tensor((k - 1) / (n - 1))
    return value, error, chance, units, component, right_when_left_out(rows, labels).mean()
