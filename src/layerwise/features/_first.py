"""The first token alone: the class token, where a network has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.features._masked import at_least_float32, require_tokens


@final
@dataclass(frozen=True)
class First:
    """Takes the first real token of each sample. Give it the prefix tokens, uncut.

    Example:
        >>> First()(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[1.0, 2.0]]
    """

    name: ClassVar[str] = "first"

    def __call__(
        self, tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Pool.

        Args:
            tokens: what flows out of a layer, prefix tokens included.
            mask: which tokens are real; all of them without it.

        Raises:
            LayerwiseError: a sample has no token.
        """
        require_tokens(tokens, mask)
        n = tokens.shape[0]
        place = torch.zeros(n, dtype=torch.long, device=tokens.device)
        if mask is not None:
            place = mask.int().argmax(1)
        # Indexing copies, so that the row does not keep the whole map alive.
        return tokens[torch.arange(n, device=tokens.device), place].to(at_least_float32(tokens))
