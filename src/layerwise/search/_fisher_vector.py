"""Fisher vectors: a layer as a filter bank, pooled without order (P119).

The places of a layer are local descriptors. A mixture of K Gaussians with diagonal covariances is
fitted to those of many pictures; a picture, or a region of one, is described by how its own
descriptors would move the means and deviations of the mixture,
`u_k = sum_i q_ik (x_i - mu_k) / sigma_k / (N sqrt(pi_k))` and
`v_k = sum_i q_ik [((x_i - mu_k) / sigma_k)^2 - 1] / (N sqrt(2 pi_k))`,
followed by the signed square root and length 1. Where things lie is not felt. One forward serves
all regions: descriptors are pooled where the mask is on.

Descriptors are first rotated onto their principal components, of which as many as `dims` are kept;
the paper does so for SIFT and skips it for convolutions, whose channels are many more here.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.features._finite import require_finite
from layerwise.features._masked import require_tokens
from layerwise.search._mixture import Mixture


@final
@paper(
    "Deep filter banks for texture recognition, description, and segmentation",
    year=2015,
    arxiv="1507.02620",
    no=(119,),
)
class FisherVector(nn.Module):
    """Pools places by a mixture of Gaussians. Build it with `fit`.

    Args:
        reduce: onto principal components of equal variance.
        mixture: of Gaussians over reduced places.

    Example:
        >>> tokens = torch.randn(8, 30, 6, generator=torch.Generator().manual_seed(0))
        >>> fisher = FisherVector.fit(tokens, gaussians=4)
        >>> fisher(tokens).shape
        torch.Size([8, 48])
        >>> bool(torch.allclose(fisher(tokens.flip(1)), fisher(tokens), atol=1e-5))
        True
    """

    def __init__(self, reduce: Whiten, mixture: Mixture) -> None:
        super().__init__()
        self.reduce = reduce
        self.mixture = mixture

    @classmethod
    def fit(
        cls,
        tokens: Float[Tensor, "n t d"],
        *,
        gaussians: int = 64,
        dims: int = 80,
        sample: int = 20_000,
        generator: Generator | None = None,
    ) -> FisherVector:
        """Fit the mixture.

        Args:
            tokens: places of the pictures, as `rows` of `dense` or a layer of tokens.
            gaussians: of the mixture, at most one for each two places.
            dims: principal components, as far as there are so many.
            sample: places that are drawn to fit to.
            generator: for the draw and the start.

        Raises:
            LayerwiseError: no places, or they are not finite or do not vary.
        """
        require_tokens(tokens, None)
        require_finite(tokens, "tokens")
        if min(gaussians, dims) < 1:
            raise LayerwiseError(f"gaussians={gaussians} and dims={dims} must be at least 1")
        generator = generator or Generator().manual_seed(0)
        places = tokens.flatten(0, 1)
        drawn = torch.randperm(len(places), generator=generator)[:sample]
        few = places[drawn.to(places.device)]
        reduce = Whiten.fit(few, keep=min(dims, few.shape[1], max(1, len(few) - 1)))
        mixture = Mixture.fit(
            reduce(few), gaussians=min(gaussians, max(1, len(few) // 2)), generator=generator
        )
        return cls(reduce, mixture)

    def forward(
        self, tokens: Float[Tensor, "n t d"], *, mask: Bool[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n w"]:
        """Describe pictures, or a region of each.

        Args:
            tokens: places of each picture.
            mask: which places belong to the region; all of them without it.

        Raises:
            LayerwiseError: a picture has no place, or places are not finite.
        """
        require_tokens(tokens, mask)
        require_finite(tokens, "tokens")
        flat = [self._gradient(self.reduce(places)) for places in _regions(tokens, mask)]
        if not flat:
            return tokens.new_empty(0, 2 * self.mixture.means.numel())
        rows = torch.stack(flat)
        return nn.functional.normalize(rows.sign() * rows.abs().sqrt(), dim=1)

    def _gradient(self, x: Float[Tensor, "t e"]) -> Float[Tensor, " w"]:
        """Gradient of the mean log-likelihood for means and deviations, normalised."""
        mixture = self.mixture
        q = mixture(x)
        total = q.mean(0)[:, None]
        first, second = q.T @ x / len(x), q.T @ x.square() / len(x)
        moved = (first - total * mixture.means) / mixture.deviations
        around = second - 2 * first * mixture.means + total * mixture.means.square()
        spread = around / mixture.deviations.square() - total
        root = mixture.shares.sqrt()[:, None]
        return torch.cat([(moved / root).flatten(), (spread / (2**0.5 * root)).flatten()])


def _regions(tokens: Tensor, mask: Tensor | None) -> list[Tensor]:
    if mask is None:
        return list(tokens)
    return [places[kept] for places, kept in zip(tokens, mask, strict=True)]
