"""Non-negative factorisation: rows as sums of a few parts, from which nothing is ever subtracted.

Minimises `|X - S P|^2` over scores S >= 0 and parts P >= 0 by hierarchical alternating least
squares (Cichocki and Phan 2009): each column of S and each row of P in turn has a closed solution,
so that the error never rises. The start is the NNDSVD of Boutsidis and Gallopoulos (2008) with its
zeros filled, so that there is no randomness. Where the rows themselves go below zero, as between
the blocks of a transformer, the parts may, too, and only the scores are held at zero (the semi-NMF
of Ding et al. 2010). Parts have length 1, and the most used comes first. All is computed in
float64: there are many solutions, and rounding must not choose between them.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_CHUNK = 2**14  # rows whose scores stay in the processor's cache


@final
class NonNegative(nn.Module):
    """Takes rows apart into parts of which there is some or none. Build it with `fit`.

    Args:
        parts: directions of the layer, of length 1.
        error: `|X - S P| / |X|` of the rows it was fitted to.

    Example:
        >>> rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0], [4.0, 1.0, 1.0]])
        >>> factors = NonNegative.fit(rows, count=2)
        >>> bool((factors.restore(factors(rows)) - rows).abs().max() < 0.01)
        True
    """

    parts: Float[Tensor, "k d"]
    error: Float[Tensor, ""]

    def __init__(self, parts: Float[Tensor, "k d"], error: Float[Tensor, ""]) -> None:
        super().__init__()
        self.register_buffer("parts", parts)
        self.register_buffer("error", error)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        count: int = 10,
        iterations: int = 200,
        tolerance: float = 1e-5,
    ) -> NonNegative:
        """Find the parts.

        Args:
            features: one row per sample or place.
            count: parts, as far as there are rows and channels; zero beyond the rows' rank.
            iterations: most rounds over all scores and parts.
            tolerance: a round that lowers the squared error by less than this part of it is the
                last one.

        Raises:
            LayerwiseError: no rows, rows that are not finite, or `count` below 1.
        """
        require_finite(features)
        if len(features) == 0 or count < 1:
            raise LayerwiseError(
                f"{count} parts of {len(features)} rows; give at least 1 of each to take apart"
            )
        lowest = -torch.inf if bool((features < 0).any()) else 0.0
        rows = features.double()
        scores, parts = _start(rows, count)
        size = rows.square().sum()
        error = size
        for _ in range(iterations):
            _sweep(scores, parts @ rows.T, parts @ parts.T)
            overlap, product = scores @ scores.T, scores @ rows
            _sweep(parts, product, overlap, lowest=lowest)
            before, error = error, _error(size, overlap, product, parts)
            if before - error <= tolerance * before:
                break
        lengths = parts.norm(dim=1)
        order = (scores.norm(dim=1) * lengths).argsort(descending=True, stable=True)
        relative = error.clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny)
        parts = nn.functional.normalize(parts, dim=1)[order]
        spare = min(count, *features.shape) - len(parts)
        parts = nn.functional.pad(parts, (0, 0, 0, spare))
        return cls(parts.to(features.dtype), relative.sqrt().to(features.dtype))

    def forward(
        self, features: Float[Tensor, "m d"], *, iterations: int = 500
    ) -> Float[Tensor, "m k"]:
        """How much of each part is in each row: non-negative least squares.

        Args:
            features: one row per sample or place.
            iterations: most rounds over all scores.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        gram = self.parts @ self.parts.T
        found = [features.new_zeros(0, len(gram))]
        for rows in features.split(_CHUNK):
            if len(rows) == 0:
                continue
            product = self.parts @ rows.T
            scores = product.clamp(min=0)
            for _ in range(iterations):
                before = scores.clone()
                _sweep(scores, product, gram)
                if bool((scores - before).abs().max() <= 1e-6 * scores.max()):
                    break
            found.append(scores.T)
        return torch.cat(found)

    def restore(self, scores: Float[Tensor, "m k"]) -> Float[Tensor, "m d"]:
        """The rows that some scores stand for."""
        return scores @ self.parts


def _start(rows: Float[Tensor, "n d"], count: int) -> tuple[Tensor, Tensor]:
    """The larger half, above or below zero, of each of the leading singular vectors."""
    left, sizes, right = _leading(rows, count)
    halves = [(left.clamp(min=0), right.clamp(min=0)), (-left.clamp(max=0), -right.clamp(max=0))]
    weights = torch.stack([a.norm(dim=0) * b.norm(dim=0) for a, b in halves])
    first = weights[0] >= weights[1]
    scores, parts = (
        nn.functional.normalize(torch.where(first, one, other), dim=0)
        * (sizes * weights.amax(dim=0)).sqrt()
        for one, other in zip(*halves, strict=True)
    )
    mean = (rows.abs().mean() / count).sqrt()  # what starts at zero would hardly ever leave it
    scores, parts = (each.where(each > 0, mean).T.contiguous() for each in (scores, parts))
    return scores, parts


def _leading(rows: Float[Tensor, "n d"], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leading singular vectors and values, by the smaller of the two products."""
    tall = rows.shape[0] >= rows.shape[1]
    gram = rows.T @ rows if tall else rows @ rows.T
    squares, vectors = torch.linalg.eigh(gram)
    sizes = squares[-count:].flip(0).clamp(min=0).sqrt()
    sizes = sizes[: max(1, int((sizes > 1e-6 * sizes[0]).sum()))]
    known = vectors.flip(1)[:, : len(sizes)]
    other = nn.functional.normalize(rows @ known if tall else rows.T @ known, dim=0)
    return (other, sizes, known) if tall else (known, sizes, other)


def _sweep(
    scores: Float[Tensor, "k n"],
    product: Float[Tensor, "k n"],
    gram: Float[Tensor, "k k"],
    *,
    lowest: float = 0.0,
) -> None:
    """Bring each row of the scores to its best value in turn, in place."""
    for j, size in enumerate(gram.diagonal().tolist()):
        if size > 0:
            step = (product[j] - gram[j] @ scores).div_(size)
            scores[j].add_(step).clamp_(min=lowest)


def _error(size: Tensor, overlap: Tensor, product: Tensor, parts: Tensor) -> Tensor:
    """`|X - S P|^2` without the difference itself."""
    return size - 2 * (product * parts).sum() + (overlap * (parts @ parts.T)).sum()
