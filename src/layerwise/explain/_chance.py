"""Random numbers of a tensor's shape and device, the same in every precision."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from 0 to 1."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of mean 0 and variance 1."""
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
