"""Losses that need no label, for taking gradients of: one number for each sample (P232)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError

Views = Float[Tensor, "n v ..."]
Latents = Float[Tensor, "n v k"]


@final
@dataclass(frozen=True)
class Uniform:
    """Kullback-Leibler divergence between the softmax of a random latent and the uniform one.

    Args:
        width: of the latent.
        temperature: divides the latent.
    """

    width: int = 768
    temperature: float = 1.0

    def views(self, inputs: Tensor) -> Views:
        """The sample itself."""
        return inputs.unsqueeze(1)

    def loss(self, latents: Latents, _: Float[Tensor, "m k"]) -> Float[Tensor, " n"]:
        """KL(uniform || softmax), up to a constant: minus the mean log-probability."""
        return -(latents / self.temperature).log_softmax(2).mean((1, 2))


@final
@dataclass(frozen=True)
class OwnPatches:
    """SimCLR's loss: a picture's patches are to be like each other and unlike those of others.

    Patches have half the picture's side and are brought to its size.

    Args:
        width: of the latent.
        temperature: divides the cosines.
        steps: patches along a side begin this many times in half of it; 1 makes 4 patches and the
            paper's 6 makes 49.
    """

    width: int = 96
    temperature: float = 0.07
    steps: int = 6

    def views(self, inputs: Tensor) -> Views:
        """Overlapping patches.

        Raises:
            LayerwiseError: the inputs are no pictures, or too small.
        """
        if inputs.ndim != 4 or min(inputs.shape[2:]) < 2 * self.steps:
            raise LayerwiseError(
                f"inputs of shape {list(inputs.shape)} cannot be cut into patches; give pictures "
                f"of at least {2 * self.steps} pixels a side, or use Uniform()"
            )
        height, width = inputs.shape[2:]
        places = range(self.steps + 1)
        cut = [
            inputs[
                :,
                :,
                down * height // (2 * self.steps) :,
                right * width // (2 * self.steps) :,
            ][:, :, : height // 2, : width // 2]
            for down in places
            for right in places
        ]
        size = (height, width)
        return torch.stack([nn.functional.interpolate(c, size, mode="bilinear") for c in cut], 1)

    def loss(self, latents: Latents, negatives: Float[Tensor, "m k"]) -> Float[Tensor, " n"]:
        """InfoNCE of each view against the other views and the negatives, averaged."""
        own = nn.functional.normalize(latents, dim=2)
        count = own.shape[1]
        positive = own @ own.transpose(1, 2) / self.temperature
        negative = own @ nn.functional.normalize(negatives, dim=1).T / self.temperature
        itself = torch.eye(count, dtype=torch.bool, device=own.device)
        every = torch.cat([positive.masked_fill(itself, -torch.inf), negative], 2).logsumexp(2)
        attracted = positive.masked_fill(itself, 0.0).sum(2) / (count - 1)
        return (every - attracted).mean(1)
