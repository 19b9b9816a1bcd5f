"""What every pooling does first: look at the mask, and choose the precision to add in."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import without_values


def at_least_float32(tokens: Tensor) -> torch.dtype:
    """The tokens' own type, or float32 where they are of half precision."""
    return torch.promote_types(tokens.dtype, torch.float32)


def require_tokens(tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None) -> None:
    """Refuse samples without tokens: no pooling has an answer for them.

    Raises:
        LayerwiseError: there are no tokens, or the mask leaves a sample none.
    """
    if tokens.shape[1] == 0:
        raise LayerwiseError(
            f"tokens of shape {list(tokens.shape)} hold no token to pool; give at least one"
        )
    if mask is None or without_values(mask):
        return
    if not bool(mask.any(1).all()):
        row = int(mask.any(1).logical_not().nonzero()[0])
        raise LayerwiseError(
            f"the mask leaves sample {row} without a token; leave the sample out or unmask one"
        )


def fill(
    tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None, value: float
) -> Float[Tensor, "n t d"]:
    """Put `value` where the mask is off, so that not even a NaN there is felt."""
    require_tokens(tokens, mask)
    return tokens if mask is None else tokens.masked_fill(~mask.unsqueeze(2), value)
