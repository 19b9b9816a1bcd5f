"""Stability and plasticity: what does a network keep, and what does it learn, step by step?

A network learns new classes in steps, and its features are read after each. A linear classifier is
fitted afresh to every snapshot with the data of all classes, so that it tells what the features
hold, not what the network's own head forgot (P263). With a[t, k] its accuracy, after step t, on the
classes of step k:

    stability[t] = mean over k < t of a[t, k] - a[k, k],   plasticity[t] = a[t, t] - a[t - 1, t].

Beside them stand the CKA with the first snapshot and the cosine of the class means then and now,
seen from their centre. Two things are ours: the classifier is ridge regression on the classes,
which answers for every sample as if that had been left out, so that no data are set aside; and the
slope of the accuracy over the steps has an interval, over samples that are paired by nature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._bootstrap import Interval, bootstrap_mean
from layerwise.measures._checked import checked
from layerwise.measures._cka import cka
from layerwise.measures._left_out import right_when_left_out
from layerwise.search import NearestMean
from layerwise.search._labelled import require_labelled


@final
@dataclass(frozen=True)
class StabilityPlasticity:
    """What snapshots of a network know of the classes of each step.

    Args:
        accuracy: of a fresh linear classifier for all classes, by snapshot and by the step that
            brought the classes. Columns before the diagonal show forgetting, after it what was
            known without having been taught.
        stability: change on earlier classes since they were learned; NaN at the first step.
        plasticity: change on a step's own classes through that step; NaN at the first step.
        overall: accuracy on all classes.
        slope: how much `overall` rises a step, with its 95 % interval: one that holds 0 says that
            the first snapshot knew as much as the last.
        cka: similarity to the first snapshot.
        direction: mean cosine of the class means then and now.
    """

    accuracy: Float[Tensor, "t k"]
    stability: Float[Tensor, " t"]
    plasticity: Float[Tensor, " t"]
    overall: Float[Tensor, " t"]
    slope: Interval
    cka: Float[Tensor, " t"]
    direction: Float[Tensor, " t"]


@paper(
    "On the Stability-Plasticity Dilemma of Class-Incremental Learning",
    year=2023,
    arxiv="2304.01663",
    no=(263,),
)
def stability_plasticity(
    snapshots: Sequence[Float[Tensor, "n _"]],
    labels: Int[Tensor, " n"],
    *,
    steps: Int[Tensor, " n"] | None = None,
    penalties: Sequence[float] | None = None,
) -> StabilityPlasticity:
    """Compare the features of a network after each step of its training.

    Args:
        snapshots: a layer of the same samples after each step, all classes among them.
        labels: class of each sample.
        steps: the step, counted from 0, that brought the class of each sample; without it the
            classes are dealt to the steps in order, as evenly as can be.
        penalties: of the ridge regression, see `features.Ridge`.

    Raises:
        LayerwiseError: fewer than 2 snapshots, other samples in one of them, fewer classes than
            snapshots, a step without samples, NaN.

    Example:
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> learned = torch.eye(3)[labels]
        >>> found = stability_plasticity([noise, noise + 9 * learned, noise + 9 * learned], labels)
        >>> found.plasticity[1].item() > 0.3, found.stability[2].item() > 0.3
        (True, True)
    """
    rows = _rows(snapshots, labels)
    classes, index = labels.unique(return_inverse=True)
    steps = _dealt(index, len(classes), len(rows)) if steps is None else _told(steps, rows)
    right = torch.stack([right_when_left_out(each, labels, penalties=penalties) for each in rows])
    accuracy = torch.stack([right[:, steps == step].mean(1) for step in range(len(rows))], 1)
    learned = accuracy.diagonal()
    overall = right.mean(1)
    earlier = torch.ones_like(accuracy).tril(-1)
    kept = ((accuracy - learned) * earlier).sum(1) / earlier.sum(1)
    before = torch.cat([learned.new_full((1,), torch.nan), accuracy.diagonal(1)])
    times = torch.arange(len(rows)).to(right)
    weights = (times - times.mean()) / (times - times.mean()).square().sum()
    slope = bootstrap_mean(weights @ right)
    similar = [cka(rows[0], each)[0, 0] for each in rows]
    means = [_spokes(each, labels) for each in rows]
    return StabilityPlasticity(
        accuracy=accuracy,
        stability=kept,
        plasticity=learned - before,
        overall=overall,
        slope=slope,
        cka=torch.stack(similar),
        direction=torch.stack([_cosine(means[0], each) for each in means]),
    )


def _rows(snapshots: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    rows = [checked(each) for each in snapshots]
    shapes = sorted({tuple(each.shape) for each in rows})
    if len(rows) < 2 or len(shapes) > 1:
        raise LayerwiseError(
            f"{len(rows)} snapshots of shapes {shapes}; give at least 2, all of one layer and of "
            "the same samples"
        )
    require_labelled(rows[0], labels)
    return rows


def _dealt(index: Tensor, classes: int, steps: int) -> Tensor:
    """Classes in order, the same number to each step or one more."""
    if classes < steps:
        raise LayerwiseError(f"{classes} classes for {steps} steps; give steps=, one each sample")
    return index * steps // classes


def _told(steps: Tensor, rows: Sequence[Tensor]) -> Tensor:
    missing = set(range(len(rows))) - set(steps.tolist())
    if len(steps) != len(rows[0]) or missing:
        raise LayerwiseError(
            f"{len(steps)} steps for {len(rows[0])} samples, none of step {sorted(missing)}; give "
            f"one for each sample, and samples for each of the {len(rows)} snapshots"
        )
    return steps


def _spokes(rows: Tensor, labels: Tensor) -> Tensor:
    means = NearestMean.fit(rows, labels).means.to(rows)
    return means - means.mean(0)


def _cosine(means: Tensor, others: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(means, others, dim=1).mean()
