"""Generalised mean over the places of a layer: between the mean (p = 1) and the maximum (p = inf).

`(mean max(x, floor)^p)^(1/p)` for each channel (Radenovic, Tolias and Chum 2018, Equation
3). SuperGlobal (P159) found that retrieval wants `GeM(p=4.6, floor=0.014)`. Meant for maps after a
ReLU: everything below `floor` counts as `floor`. The mean is taken of `x / largest`, which changes
nothing but keeps high powers finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._masked import at_least_float32, fill


@final
@dataclass(frozen=True)
class GeM:
    """Takes the generalised mean of each channel over the tokens of each sample.

    Args:
        p: the power, positive; the larger, the nearer to the maximum.
        floor: what smaller values are raised to, positive.

    Raises:
        LayerwiseError: `p` or `floor` is not positive.

    Example:
        >>> import torch
        >>> pooled = GeM(p=3.0)(torch.tensor([[[1.0], [2.0]]]))
        >>> round(pooled.item() ** 3, 4)  # (1 + 8) / 2
        4.5
    """

    p: float = 3.0
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not (self.p > 0 and self.floor > 0):
            raise LayerwiseError(
                f"GeM(p={self.p}, floor={self.floor}): both must be positive, as in GeM(p=3.0)"
            )

    @property
    def name(self) -> str:
        """`gem` for the usual power, else `gem4.6` and the like."""
        return "gem" if self.p == 3.0 else f"gem{self.p:g}"

    def __call__(
        self, tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Pool.

        Args:
            tokens: what flows out of a layer.
            mask: which tokens are real; all of them without it.

        Raises:
            LayerwiseError: a sample has no token.
        """
        filled = fill(tokens, mask, 0.0).to(at_least_float32(tokens)).clamp(min=self.floor)
        largest = filled.amax(1)
        powers = (filled / largest.unsqueeze(1)).pow(self.p)
        if mask is None:
            return powers.mean(1).pow(1 / self.p) * largest
        real = (powers * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        return real.pow(1 / self.p) * largest
