"""Neural collapse: how far have the classes shrunk to points, and how do the points lie?

For labelled features of any layer: NC1, samples fall onto their class mean; NC2, the class means
become equally long, equally far apart, a simplex (or, without biases, an orthogonal frame); NC3,
the rows of the classifier point where the class means point; NC4, the classifier decides as the
nearest class mean does. P008 measures this with next tokens as classes, P089 along linear layers.

The centre is the mean of the class means. Public code of P008 weights it by the class sizes, but
then a perfect simplex of unequal classes would not count as one. Where no classifier is given, the
least-squares one of these features stands in, which is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._checked import centre, checked
from layerwise.search import NearestMean

_PAIRS = 2**22  # numbers in a block of pairs of classes
_ROWS = 4096  # taken into float64 at a time


@final
@dataclass(frozen=True)
class NeuralCollapse:
    """How far a layer has collapsed. All but `nc4` are 0 at collapse, `nc4` is 1.

    A number is NaN or infinite where it is not defined, as for classes of equal means.

    Args:
        nc1: trace(S_W pinv(S_B)) / K: variance within the K classes over variance between them.
        cdnv: class-distance normalised variance, the mean over all pairs of classes of their
            variance over twice their squared distance.
        nc2_equinorm: coefficient of variation of the lengths of the centred class means.
        nc2_coherence: mean distance of the cosines of two class means to the simplex's -1/(K - 1).
        nc2_simplex: Frobenius distance of the centred means' products to a simplex, both of norm 1.
        nc2_orthogonal: that of the uncentred means' products to an orthogonal frame.
        nc3: mean squared distance of class means and classifier rows, all brought to length 1.
        nc4: share of samples that the nearest class mean and the classifier put in one class.
        noise: share of the variance between class means that the scatter of so few samples in each
            class makes by itself; where it is above some tenth, `nc1` and `cdnv` are too low.
        classes: number of classes that counted.
        samples: number of samples that counted.
    """

    nc1: Float[Tensor, ""]
    cdnv: Float[Tensor, ""]
    nc2_equinorm: Float[Tensor, ""]
    nc2_coherence: Float[Tensor, ""]
    nc2_simplex: Float[Tensor, ""]
    nc2_orthogonal: Float[Tensor, ""]
    nc3: Float[Tensor, ""]
    nc4: Float[Tensor, ""]
    noise: Float[Tensor, ""]
    classes: int
    samples: int


@paper(
    "Linguistic Collapse: Neural Collapse in (Large) Language Models",
    year=2024,
    arxiv="2405.17767",
    no=(8, 89),
)
def neural_collapse(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    *,
    classifier: Float[Tensor, "c d"] | None = None,
    predictions: Int[Tensor, " n"] | None = None,
    min_count: int = 2,
) -> NeuralCollapse:
    """Measure NC1 to NC4 of labelled features.

    Args:
        features: any layer, pooled, or one row for each token.
        labels: class of each sample.
        classifier: one row for each class, as the weight of the network's last layer; without it,
            the least-squares classifier of the features.
        predictions: the network's answers; without them, those of the least-squares classifier.
        min_count: classes of fewer samples are left out. One sample is always its own mean.

    Raises:
        LayerwiseError: fewer than 2 classes of enough samples, labels missing or not matching, no
            classifier row for a class, NaN.

    Example:
        >>> labels = torch.arange(30) % 3
        >>> collapse = neural_collapse(torch.eye(3)[labels], labels)
        >>> bool(collapse.nc1 < 1e-12), round(collapse.nc4.item(), 6)
        (True, 1.0)
    """
    rows = checked(features, least=2)
    for given in (labels, labels if predictions is None else predictions):
        if len(given) != len(rows):
            raise LayerwiseError(f"{len(given)} labels for {len(rows)} samples; give one for each")
    counts, kept = _frequent(labels, min_count)
    rows, labels = (rows, labels) if kept.all() else (rows[kept], labels[kept])
    nearest = NearestMean.fit(rows, labels)
    index = torch.searchsorted(nearest.classes, labels)
    spokes = nearest.means - nearest.means.mean(dim=0)
    inverse = torch.linalg.pinv(spokes)
    spread, nc1 = counts.new_zeros(len(spokes)).double(), spokes.new_zeros(())
    for block, own in zip(rows.split(_ROWS), index.split(_ROWS), strict=True):
        within = block.double() - nearest.means[own]
        spread.index_add_(0, own, within.square().sum(dim=1))
        nc1 += (within @ inverse).square().sum()
    cdnv, coherence = _pairs(spokes, spread / counts)
    weight, fitted = _least_squares(rows, nearest)
    if classifier is not None:
        weight = _rows(classifier, nearest)
    answers = fitted if predictions is None else predictions[kept]
    near = torch.cat([nearest.predict(block.double()) for block in rows.split(_ROWS)])
    lengths = spokes.norm(dim=1)
    scatter = (spread / counts / (counts - 1)).mean() * (1 - 1 / len(spokes))
    return NeuralCollapse(
        nc1=nc1 / len(rows),
        cdnv=cdnv,
        nc2_equinorm=lengths.std(correction=0) / lengths.mean(),
        nc2_coherence=coherence,
        nc2_simplex=_distance(spokes, off=-1 / (len(spokes) - 1)),
        nc2_orthogonal=_distance(nearest.means, off=0.0),
        nc3=(_unit(spokes) - _unit(weight)).square().sum(dim=1).mean(),
        nc4=(near == answers).double().mean(),
        noise=scatter / lengths.square().mean(),
        classes=len(spokes),
        samples=len(rows),
    )


def _frequent(labels: Tensor, min_count: int) -> tuple[Tensor, Tensor]:
    """How often each frequent class occurs, and which samples are of such a class."""
    classes, index, counts = labels.unique(return_inverse=True, return_counts=True)
    enough = counts >= min_count
    if enough.sum() < 2:
        raise LayerwiseError(
            f"{int(enough.sum())} of {len(classes)} classes have {min_count} samples or more; "
            "neural collapse compares at least 2 such classes"
        )
    return counts[enough], enough[index]


def _least_squares(rows: Tensor, nearest: NearestMean) -> tuple[Tensor, Tensor]:
    """Classifier rows and answers of a linear fit to the classes, one column for each.

    A millionth of the mean variance keeps it solvable with more channels than samples.
    """
    middle = centre(rows)
    products = middle.new_zeros(rows.shape[1], rows.shape[1])
    for block in rows.split(_ROWS):
        moved = block - middle
        products.addmm_(moved.T, moved)
    ridge = 1e-6 * products.diagonal().mean().clamp(min=torch.finfo(products.dtype).tiny)
    products.diagonal().add_(ridge)
    sums = (nearest.means - middle) * nearest.counts[:, None]
    weight = torch.cholesky_solve(sums.T, torch.linalg.cholesky(products)).T
    bias = nearest.counts / len(rows)
    best = [((block - middle) @ weight.T + bias).argmax(dim=1) for block in rows.split(_ROWS)]
    return weight, nearest.classes[torch.cat(best)]


def _rows(classifier: Tensor, nearest: NearestMean) -> Tensor:
    needed = int(nearest.classes[-1]) + 1, nearest.means.shape[1]
    if len(classifier) < needed[0] or classifier.shape[1] != needed[1]:
        raise LayerwiseError(
            f"a classifier of shape {tuple(classifier.shape)} for {needed[0]} classes and "
            f"{needed[1]} channels; give one row for each class, as wide as the features"
        )
    return classifier.detach().double()[nearest.classes]


def _pairs(spokes: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over all pairs of classes of CDNV and of the distance to the simplex's cosine."""
    count = len(spokes)
    unit = _unit(spokes)
    cdnv, coherence = spokes.new_zeros(()), spokes.new_zeros(())
    for block in torch.arange(count, device=spokes.device).split(max(1, _PAIRS // count)):
        both = (variances[block, None] + variances) / 2
        pair = block[:, None] < torch.arange(count, device=spokes.device)
        cdnv += (both / torch.cdist(spokes[block], spokes).square())[pair].sum()
        coherence += (unit[block] @ unit.T + 1 / (count - 1))[pair].abs().sum()
    pairs = count * (count - 1) / 2
    return cdnv / pairs, coherence / pairs


def _distance(rows: Tensor, *, off: float) -> Tensor:
    """Frobenius distance of the rows' products to 1 on the diagonal and `off` elsewhere.

    Both have norm 1, so that it is sqrt(2 - 2 cos) and needs no matrix of all pairs of classes.
    """
    count = len(rows)
    norm = (rows.T @ rows).norm() if rows.shape[1] < count else (rows @ rows.T).norm()
    own, all_ = rows.square().sum(), rows.sum(dim=0).square().sum()
    shared = own + off * (all_ - own)
    pattern = (count + count * (count - 1) * off**2) ** 0.5
    return (2 - 2 * shared / (norm * pattern)).clamp(min=0).sqrt()


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)
