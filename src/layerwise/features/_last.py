"""The last token alone: where a causal language model has seen the whole text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.features._masked import at_least_float32, require_tokens


@final
@dataclass(frozen=True)
class Last:
    """Takes the last real token of each sample, whichever side is padded.

    Example:
        >>> tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]])
        >>> Last()(tokens, torch.tensor([[True, True, False]])).tolist()
        [[3.0, 4.0]]
    """

    name: ClassVar[str] = "last"

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
        require_tokens(tokens, mask)
        n, t, _ = tokens.shape
        place = torch.full((n,), t - 1, device=tokens.device)
        if mask is not None:
            place = t - 1 - mask.int().flip(1).argmax(1)
        # Indexing copies, so that the row does not keep the whole map alive.
        return tokens[torch.arange(n, device=tokens.device), place].to(at_least_float32(tokens))
