"""How much of one layer does another one tell, linearly? And do equal depths tell each other most?

For every layer of one network and every layer of another, over the same samples: ridge regression
of the second on the first, and the share of the second's variance that it predicts for samples it
was not fitted to. P155 maps a shallow language model to a deep one and finds that layers of equal
relative depth map best. Unlike CKA it has a direction: a layer that forgot something can be told
from one that knows it, and not the other way round. Ours: predictions leave one sample out, in
closed form, so that neither folds nor the order of samples are felt; the penalty of each pair is
chosen by generalised cross-validation; and `diagonality` puts a number on the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._decomposition import Decomposition
from layerwise.features._standardise import Standardise
from layerwise.measures._checked import centred, checked

_LEAST = 3  # samples: with two, one predicts the other
_ROWS = 4096


@paper(
    "Do Language Models Use Their Depth Efficiently?",
    year=2025,
    arxiv="2505.13898",
    no=(155,),
)
def map_r2(
    features: Float[Tensor, "n _"] | Sequence[Float[Tensor, "n _"]],
    other: Float[Tensor, "n _"] | Sequence[Float[Tensor, "n _"]] | None = None,
) -> Float[Tensor, "l m"]:
    """Share of each layer of `other` that a linear map from each layer of `features` predicts.

    1 is all of it, 0 no more than its mean, below 0 less than that; NaN for a constant layer.

    Args:
        features: one layer, or a sequence of layers of any widths: what is mapped from.
        other: the same samples in the layers that are mapped to; without it, `features` again.

    Raises:
        LayerwiseError: fewer than 3 samples, layers of different numbers of samples, NaN.

    Example:
        >>> layer = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
        >>> r2 = map_r2([layer, layer[:, :2]])
        >>> bool(r2[0, 1] > 0.99), bool(r2[1, 0] < 0.6)
        (True, True)
    """
    rows = _layers(features)
    columns = rows if other is None else _layers(other)
    samples = sorted({len(layer) for layer in [*rows, *columns]})
    if len(samples) != 1:
        raise LayerwiseError(f"layers of {samples} samples; give the same samples in all")
    aims = [centred(layer).double() for layer in columns]
    table = []
    for layer in rows:
        x = Standardise.fit(layer)(layer.double())
        solver = Decomposition.of(x)
        table.append(torch.stack([_explained(solver, y) for y in aims]))
    dtype = torch.promote_types(rows[0].dtype, columns[0].dtype)
    return torch.stack(table).to(dtype)


def diagonality(similarity: Float[Tensor, "l m"]) -> Float[Tensor, ""]:
    """Do layers of equal relative depth belong together?

    For every layer of the second network the most similar one of the first, and how far apart they
    are in relative depth: 1 where all are at the same depth, 0 where it is as far as by chance.

    Args:
        similarity: of the layers of two networks, in order of depth; at least 2 of each.

    Raises:
        LayerwiseError: too few layers.

    Example:
        >>> diagonality(torch.eye(4)).item(), diagonality(torch.eye(4).flip(0)).item() < 0
        (1.0, True)
    """
    if min(similarity.shape) < 2:
        raise LayerwiseError(
            f"diagonality of {tuple(similarity.shape)} layers; give at least 2 of each network"
        )
    depth, aim = (torch.linspace(0, 1, n).to(similarity) for n in similarity.shape)
    apart = (depth[:, None] - aim).abs()
    best = similarity.nan_to_num(-torch.inf).argmax(0)
    return 1 - apart.gather(0, best[None]).mean() / apart.mean()


def _layers(features: Tensor | Sequence[Tensor]) -> list[Tensor]:
    given = [features] if isinstance(features, Tensor) else list(features)
    if not given:
        raise LayerwiseError("no layers to map; give at least one")
    return [checked(layer, least=_LEAST) for layer in given]


def _explained(solver: Decomposition, y: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    total = y.square().sum()
    penalty = _penalty(solver, y, total)
    error = _error(solver, y, penalty)
    n = len(y)
    # A mean that leaves one out errs by n / (n - 1) on it: that is what 0 stands for.
    baseline = total * (n / (n - 1)) ** 2
    return torch.where(total > 0, 1 - error / baseline, torch.nan)


def _error(solver: Decomposition, y: Tensor, penalty: Tensor) -> Float[Tensor, ""]:
    """Squared errors of all samples, each left out; many samples in blocks of them."""
    if len(y) < solver.x.shape[1]:
        return solver.solve(y, penalty[None]).left_out.square().sum()
    inverse = 1 / (solver.spectrum + penalty)
    weight = inverse[:, None] * (solver.vectors.T @ (solver.x.T @ y))
    error = y.new_zeros(())
    for rows, aims in zip(solver.x.split(_ROWS), y.split(_ROWS), strict=True):
        scores = rows @ solver.vectors
        kept = 1 - 1 / len(y) - scores.square() @ inverse
        off = (aims - scores @ weight) / kept.clamp(min=torch.finfo(y.dtype).eps)[:, None]
        error += off.square().sum()
    return error


def _penalty(solver: Decomposition, y: Tensor, total: Tensor) -> Float[Tensor, ""]:
    """The penalty of least generalised cross-validation error."""
    n, spectrum = len(y), solver.spectrum
    grid = n * torch.logspace(-5, 3, 13, dtype=y.dtype, device=y.device)
    if n < solver.x.shape[1]:
        energy = (solver.vectors.T @ y).square().sum(1)
    else:
        inner = (solver.vectors.T @ (solver.x.T @ y)).square().sum(1)
        energy = torch.where(spectrum > 0, inner / spectrum.where(spectrum > 0, 1.0), 0.0)
    kept = spectrum / (spectrum + grid[:, None])
    error = total - (energy * (1 - (1 - kept).square())).sum(1)
    return grid[int((error / (1 - (kept.sum(1) + 1) / n).clamp(min=1e-9).square()).argmin())]
