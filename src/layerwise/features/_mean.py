"""Mean over the places of a layer: the pooling to begin with.

Half precision is summed in float32. Tokens that the mask leaves out count as if they were cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.features._masked import at_least_float32, fill


@final
@dataclass(frozen=True)
class Mean:
    """Averages the tokens of each sample.

    Example:
        >>> import torch
        >>> tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
        >>> Mean()(tokens, torch.tensor([[True, True, False]])).tolist()
        [[2.0, 3.0]]
    """

    name: ClassVar[str] = "mean"

    def __call__(
        self, tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Pool.

        Args:
            tokens: what flows out of a layer; a strided view of a map costs nothing extra.
            mask: which tokens are real; all of them without it.

        Raises:
            LayerwiseError: a sample has no token.
        """
        dtype = at_least_float32(tokens)
        if mask is None:
            return fill(tokens, mask, 0.0).mean(1, dtype=dtype)
        return fill(tokens, mask, 0.0).sum(1, dtype=dtype) / mask.sum(1, keepdim=True)
