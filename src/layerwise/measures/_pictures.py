"""Pictures that were made, not loaded, as a network of pictures takes them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, Network


def picture_size(network: Network) -> tuple[int, int]:
    """Height and width of the pictures that a network takes.

    Raises:
        LayerwiseError: it takes something else, or nobody knows how it wants them normalised.
    """
    shape: tuple[int, ...] = getattr(network.example, "shape", ())
    readable = network.modality == "tensor" or isinstance(network.prepare, ImagePreparation)
    if len(shape) != 4 or shape[1] != 3 or not readable:
        raise LayerwiseError(
            f"{network.name} is not known to take pictures as [n 3 h w]; open it with example=, "
            "and with an ImagePreparation if it wants its pictures normalised"
        )
    return shape[2], shape[3]


def as_input(network: Network, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Normalise pictures from 0 to 1 as the network's own preparation does.

    They are not resized, which would move what is known of their geometry.

    Args:
        network: of pictures of this size.
        images: red, green and blue.
    """
    assert isinstance(network.example, Tensor)
    if isinstance(network.prepare, ImagePreparation):
        mean, std = torch.tensor([network.prepare.mean, network.prepare.std])[..., None, None]
        images = (images - mean) / std
    return images.to(network.example)
