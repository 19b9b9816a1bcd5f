"""How pictures with values from 0 to 1 become what a network takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, Network
from layerwise.models._network import Inputs


@final
@dataclass(frozen=True)
class Pixels:
    """The picture that a network takes, and the way to it. Build it with `of`.

    Args:
        shape: channels, height and width that the network was traced with.
        mean: taken from every picture.
        std: what it is divided by then.
        name: of the argument that takes the batch; empty where it is the only one.
    """

    shape: tuple[int, int, int]
    mean: Float[Tensor, "c 1 1"]
    std: Float[Tensor, "c 1 1"]
    name: str

    @classmethod
    def of(cls, network: Network) -> Pixels:
        """Find out from the network's example and its preparation.

        Where the preparation is not this library's, the network is taken to want values from 0 to
        1.

        Raises:
            LayerwiseError: the network does not take pictures.
        """
        example = network.example
        given = example if isinstance(example, Mapping) else {"": example}
        pictures = {
            name: value
            for name, value in given.items()
            if isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()
        }
        if len(pictures) != 1:
            raise LayerwiseError(
                f"{network.name} takes no pictures; give a network opened with an example of one "
                "tensor [1 channels height width]"
            )
        ((name, picture),) = pictures.items()
        channels, height, width = picture.shape[1:]
        prepare = network.prepare
        mean, std = (0.0,) * channels, (1.0,) * channels
        if isinstance(prepare, ImagePreparation) and channels == len(prepare.mean):
            mean, std = prepare.mean, prepare.std
        column = [
            torch.tensor(each, dtype=picture.dtype, device=network.device).view(-1, 1, 1)
            for each in (mean, std)
        ]
        return cls((channels, height, width), column[0], column[1], name)

    def feed(self, image: Float[Tensor, "n c h w"]) -> Inputs:
        """The batch for pictures with values from 0 to 1. Gradients flow through it."""
        inputs = (image - self.mean) / self.std
        return {self.name: inputs} if self.name else inputs

    def steps(self, published: int) -> int:
        """So many steps as were published for 224 pixels, and in proportion fewer for less.

        Args:
            published: steps.
        """
        return max(16, min(published, published * max(self.shape[1:]) // 224))

    def unfed(self, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The pictures with values from 0 to 1 behind a batch; what lies outside is brought there.

        Args:
            image: as the network takes it.
        """
        return (image * self.std + self.mean).clamp(0, 1)


def picture_side(network: Network) -> int:
    """Pixels of the shorter side of the pictures that a network takes.

    Args:
        network: one that takes pictures.

    Raises:
        LayerwiseError: it does not.
    """
    return min(Pixels.of(network).shape[1:])
