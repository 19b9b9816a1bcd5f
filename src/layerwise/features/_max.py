"""Maximum over the places of a layer: is it anywhere?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.features._masked import at_least_float32, fill


@final
@dataclass(frozen=True)
class Max:
    """Takes the largest value of each channel over the tokens of each sample.

    Example:
        >>> Max()(torch.tensor([[[1.0, 4.0], [3.0, 2.0]]])).tolist()
        [[3.0, 4.0]]
    """

    name: ClassVar[str] = "max"

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
        return fill(tokens, mask, -torch.inf).amax(1).to(at_least_float32(tokens))
