"""Explanations as pictures: laid over what was explained, with a scale that tells the colours."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

_FOR, _AGAINST = (214, 84, 0), (32, 104, 178)
"""Orange speaks for what is explained, blue against it; colour-blind eyes can tell them apart."""

_STEPS = 8


def laid_over(picture: Float[Tensor, "3 H W"], heat: Float[Tensor, "h w"]) -> str:
    """A picture in grey with an explanation in colour over it, as a data address.

    Args:
        picture: from 0 to 1.
        heat: of any fineness; its largest absolute value gets the full colour.
    """
    fine = torch.nn.functional.interpolate(
        heat[None, None].float(), picture.shape[1:], mode="bilinear", align_corners=False
    )[0, 0]
    share = (fine / fine.abs().amax().clamp(min=1e-12)).double().numpy()
    grey = picture.double().mean(0).numpy()[..., None] * 150 + 70
    return _address(_coloured(grey, share))


def plain(picture: Float[Tensor, "3 H W"]) -> str:
    """A picture as it is, as a data address.

    Args:
        picture: from 0 to 1.
    """
    return _address(picture.double().permute(1, 2, 0).numpy() * 255)


def scale_bar() -> str:
    """The colours from full against to full for, on a middle grey, as a data address."""
    share = np.repeat(np.linspace(-1, 1, 201)[None], 10, 0)
    return _address(_coloured(np.full((*share.shape, 1), 170.0), share))


def step(value: float, most: float) -> int:
    """A number as one of the steps of colour a word can have, from -8 to 8.

    Args:
        value: the number.
        most: the largest absolute value of all.

    Example:
        >>> step(-0.5, 1.0), step(0.0, 0.0)
        (-4, 0)
    """
    return round(_STEPS * value / most) if most > 0 else 0


def _coloured(grey: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha = 0.9 * np.abs(share)[..., None]
    colour = np.where(share[..., None] > 0, np.array(_FOR), np.array(_AGAINST))
    return np.asarray((1 - alpha) * grey + alpha * colour)


def _address(pixels: NDArray[np.float64]) -> str:
    from PIL import Image

    shown = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(shown).save(held, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(held.getvalue()).decode()}"
