"""The magnitude spectrum of natural pictures, and the picture that a phase makes of it.

Pictures go through the inverse of the sigmoid, their colours are decorrelated by the principal
components of all pixels, and the magnitudes of their Fourier transforms are averaged. On the way
back a phase is joined with these magnitudes. The paper takes the mean spectrum of ImageNet; here
the photographs of scikit-image and scikit-learn stand in, or any pictures of the user's. That they
fade out towards their edges, and that the spectrum is taken before the sigmoid, is ours: what comes
out has the magnitudes and the colours of natural pictures without being standardised.
"""

from __future__ import annotations

import functools
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.data._photographs import PHOTOGRAPHS, Photograph, pixels_of, regions_of
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

NATURAL = ("astronaut", "cat", "china", "coffee", "flower", "motorcycle", "rocket")
"""The photographs in colour of things as eyes see them."""

_EDGE = 0.02
"""Pixels are kept so far from 0 and 1, where the inverse of the sigmoid is infinite."""


@final
class Spectrum(nn.Module):
    """Magnitudes of natural pictures; makes a picture of a phase. Build it with `fit`.

    Args:
        magnitude: of each decorrelated colour.
        colours: from decorrelated colours to channels.
        mean: of each channel before the sigmoid.
        width: of the picture, which the half spectrum leaves open.

    Example:
        >>> spectrum = Spectrum.fit(torch.rand(9, 3, 8, 8).double())
        >>> picture = spectrum(torch.randn(3, 8, 5).double())
        >>> bool(torch.allclose(spectrum.measure(picture), spectrum.magnitude, atol=1e-3))
        True
    """

    magnitude: Float[Tensor, "c h f"]
    colours: Float[Tensor, "c c"]
    mean: Float[Tensor, " c"]

    def __init__(
        self,
        magnitude: Float[Tensor, "c h f"],
        colours: Float[Tensor, "c c"],
        mean: Float[Tensor, " c"],
        *,
        width: int,
    ) -> None:
        super().__init__()
        self.register_buffer("magnitude", magnitude)
        self.register_buffer("colours", colours)
        self.register_buffer("mean", mean)
        self.width = width

    @classmethod
    def fit(cls, image: Float[Tensor, "n c h w"]) -> Spectrum:
        """Average the magnitudes of pictures.

        Args:
            image: pictures with values from 0 to 1, all of the size that is to be made.

        Raises:
            LayerwiseError: no pictures, or values that are not finite.
        """
        require_finite(image, "pictures")
        if len(image) == 0:
            raise LayerwiseError("a spectrum needs at least one picture")
        logits = image.clamp(_EDGE, 1 - _EDGE).logit()
        mean = logits.mean((0, 2, 3))
        pixels = (logits - mean[:, None, None]).transpose(0, 1).flatten(1)
        values, vectors = torch.linalg.eigh((pixels @ pixels.T / pixels.shape[1]).double())
        colours = (vectors * values.clamp(min=1e-6).sqrt()).to(image.dtype)
        centred = (logits - mean[:, None, None]) * _window(*image.shape[2:]).to(image)
        magnitude = _transform(centred, colours).abs().mean(0)
        magnitude[:, 0, 0] = 0  # the mean colour stands in `mean`
        return cls(magnitude, colours, mean, width=image.shape[3])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.magnitude.shape[1], self.width

    def forward(self, phase: Float[Tensor, "c h f"]) -> Float[Tensor, "c h w"]:
        """Join a phase with the magnitudes; the picture's values lie between 0 and 1.

        Args:
            phase: angle of each frequency of each decorrelated colour.
        """
        # Not torch.polar: its gradient is lost where the magnitude is 0.
        angle = _hermitian(phase, self.width)
        spectrum = torch.complex(self.magnitude * angle.cos(), self.magnitude * angle.sin())
        white = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        logits = torch.einsum("ck,khw->chw", self.colours, white) + self.mean[:, None, None]
        return logits.sigmoid()

    def measure(self, picture: Float[Tensor, "c h w"]) -> Float[Tensor, "c h f"]:
        """The magnitudes of a picture before the sigmoid, in the same colours.

        Args:
            picture: values between 0 and 1.
        """
        return _transform((picture.logit() - self.mean[:, None, None])[None], self.colours)[0].abs()


def _transform(logits: Tensor, colours: Tensor) -> Tensor:
    white = torch.einsum("kc,nchw->nkhw", torch.linalg.inv(colours), logits)
    return torch.fft.rfft2(white, norm="ortho")


def _window(height: int, width: int) -> Tensor:
    """Fades out towards the edges: the jump from one side to the other is no part of a picture."""
    rows, columns = (torch.hann_window(n + 2)[1:-1].double() for n in (height, width))
    window = rows[:, None] * columns
    return window / window.square().mean().sqrt()


def _hermitian(phase: Tensor, width: int) -> Tensor:
    """Make columns that are their own mirror antisymmetric; else a real picture loses magnitude."""
    own = [0, width // 2] if width % 2 == 0 else [0]
    columns = phase[..., own]
    mirrored = columns.flip(-2).roll(1, -2)
    return phase.index_copy(-1, torch.tensor(own, device=phase.device), (columns - mirrored) / 2)


@functools.lru_cache(maxsize=4)
def natural(height: int, width: int) -> Spectrum:
    """The spectrum of natural photographs at a size, in float64.

    Args:
        height: of the picture.
        width: of the picture.
    """
    chosen = [photograph for photograph in PHOTOGRAPHS if photograph.name in NATURAL]
    return Spectrum.fit(torch.cat([cut(each, height, width) for each in chosen]).double())


def cut(photograph: Photograph, height: int, width: int) -> Float[Tensor, "n 3 h w"]:
    """The regions of a photograph, as they are and mirrored, at a size."""
    from PIL import Image

    picture = pixels_of(photograph.name)
    boxes = [_shaped(box, height / width) for box in regions_of(photograph)]
    size = (width, height)
    parts = [np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box)) for box in boxes]
    image = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2) / 255
    return torch.cat([image, image.flip(3)])


def _shaped(box: tuple[int, int, int, int], ratio: float) -> tuple[float, float, float, float]:
    """The middle of a box, in a picture's shape."""
    left, upper, right, lower = box
    width = min(right - left, (lower - upper) / ratio)
    height = width * ratio
    x, y = (left + right) / 2, (upper + lower) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
