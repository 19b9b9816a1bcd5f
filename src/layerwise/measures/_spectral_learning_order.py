"""Learning order along the spectrum: which part of a layer is learned when, and for what use?

Features of a layer at several times of its training are split, each by its own singular value
decomposition, into the leading components, as many as hold `energy` of the last one's variance, and
the rest. P138 finds that the leading part is learned first, that the rest matters more for
fine-tuning, and that an earlier checkpoint can therefore be the better frozen feature extractor.
Both parts are compared with their final state by CKA, and with a target by a linear classifier that
answers for every sample as if that had been left out (ours, as no data have to be set aside).
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
from layerwise.measures._checked import centred, checked
from layerwise.measures._cka import cka
from layerwise.measures._left_out import right_when_left_out
from layerwise.measures._principal import principal_axes
from layerwise.search._labelled import require_labelled


@final
@dataclass(frozen=True)
class SpectralLearningOrder:
    """The leading part and the rest of a layer at several times of its training.

    Args:
        components: how many lead.
        energy: share of the variance in them.
        frozen: accuracy of a linear classifier on the whole layer.
        lead: by how much that is above the last one's, paired, with 95 % intervals; correct them
            for their number (`holm`) before an earlier checkpoint is chosen.
        main_accuracy: accuracy on the leading part alone.
        rest_accuracy: accuracy on the rest alone.
        main_cka: similarity of the leading part to its last state.
        rest_cka: similarity of the rest to its last state.
        main_reached: first time at which the leading part is, and stays, like its last state.
        rest_reached: that of the rest.
    """

    components: int
    energy: Float[Tensor, " t"]
    frozen: Float[Tensor, " t"]
    lead: Interval
    main_accuracy: Float[Tensor, " t"]
    rest_accuracy: Float[Tensor, " t"]
    main_cka: Float[Tensor, " t"]
    rest_cka: Float[Tensor, " t"]
    main_reached: int
    rest_reached: int

    @property
    def best(self) -> int:
        """The checkpoint whose frozen features are read best; the first of equal ones."""
        return int(self.frozen.argmax())


@paper(
    "Towards Inadequately Pre-trained Models in Transfer Learning",
    year=2022,
    arxiv="2203.04668",
    no=(138,),
)
def spectral_learning_order(
    snapshots: Sequence[Float[Tensor, "n _"]],
    labels: Int[Tensor, " n"],
    *,
    energy: float = 0.8,
    reach: float = 0.9,
) -> SpectralLearningOrder:
    """Follow the leading components of a layer, and the rest, over its training.

    Args:
        snapshots: a layer of the same samples at several times, such as before the last one.
        labels: class of each sample in the task that the features are to serve.
        energy: share of the last snapshot's variance that the leading components hold.
        reach: CKA from which on a part counts as like its last state.

    Raises:
        LayerwiseError: fewer than 2 snapshots, other samples in one of them, a last snapshot that
            does not vary, `energy` not between 0 and 1, fewer than 2 classes, NaN.

    Example:
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(2, 60, 5, generator=torch.Generator().manual_seed(0))
        >>> learned = 4 * torch.eye(5)[labels]
        >>> found = spectral_learning_order([noise[0], noise[1] + learned], labels)
        >>> found.best, bool(found.lead.high[0] < 0)
        (1, True)
    """
    if not 0 < energy < 1:
        raise LayerwiseError(f"energy={energy}, expected a share between 0 and 1")
    rows = [centred(checked(each, least=4)) for each in snapshots]
    if len(rows) < 2 or len({len(each) for each in rows}) > 1:
        raise LayerwiseError(
            f"{len(rows)} snapshots of {sorted({len(each) for each in rows})} samples; give at "
            "least 2, of the same samples"
        )
    require_labelled(rows[0], labels)
    if len(labels.unique()) < 2:
        raise LayerwiseError("all samples are of one class; give at least two")
    spectrum, axes = principal_axes(rows[-1])
    held = spectrum.cumsum(0) / spectrum.sum()
    if not held.isfinite().all():
        raise LayerwiseError("the last snapshot says the same of every sample; give another layer")
    count = 1 + int((held < energy).sum())
    last = axes[:, :count]
    shares, right, similar, accuracies = [], [], [], []
    for each in rows:
        spectrum, axes = principal_axes(each)
        shares.append((spectrum[:count].sum() / spectrum.sum()).to(each))
        right.append(_right(each, labels))
        for part in (_main, _rest):  # one at a time: each is as large as a layer
            now = part(each, axes[:, :count])
            similar.append(cka(now, part(rows[-1], last))[0, 0])
            accuracies.append(_right(now, labels).mean())
    answers = torch.stack(right, 1)
    (main_accuracy, rest_accuracy), (main_cka, rest_cka) = (
        torch.stack(values).unflatten(0, (-1, 2)).T for values in (accuracies, similar)
    )
    return SpectralLearningOrder(
        components=count,
        energy=torch.stack(shares),
        frozen=answers.mean(0),
        lead=bootstrap_mean(answers, other=answers[:, -1:].expand_as(answers)),
        main_accuracy=main_accuracy,
        rest_accuracy=rest_accuracy,
        main_cka=main_cka,
        rest_cka=rest_cka,
        main_reached=_reached(main_cka, reach),
        rest_reached=_reached(rest_cka, reach),
    )


def _main(rows: Tensor, axes: Tensor) -> Tensor:
    """What lies along some axes."""
    kept = axes.to(rows)
    return rows @ kept @ kept.T


def _rest(rows: Tensor, axes: Tensor) -> Tensor:
    return rows - _main(rows, axes)


def _right(rows: Tensor, labels: Tensor) -> Tensor:
    """Axes are kept as they are; only the unit is brought to that of the penalties."""
    unit = rows.square().sum(1).mean().sqrt()
    return right_when_left_out(rows / unit.where(unit > 0, 1.0), labels, scale=False)


def _reached(similar: Tensor, reach: float) -> int:
    """First index from which on all are at least `reach`; the last where nothing is like it."""
    below = (~(similar >= reach)).nonzero().flatten()
    return min(int(below[-1]) + 1, len(similar) - 1) if len(below) else 0
