"""Feature inversion: the picture that is to be expected, given its features (P093).

A network g is trained so that `|x - g(features of x)|^2` is small over natural pictures; what it
gives is the mean of all pictures with these features, and what stays blurred in it is what they do
not tell. Vectors go through three fully connected layers into a small map, maps through three
convolutions, and both through up-convolutions 5 x 5 with stride 2 to the picture's size; all with
leaky rectifiers of slope 0.3.

The widths follow the paper's for pictures of 64 pixels and more and are smaller below; the rate
falls along a cosine instead of by halves.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.explain._ascent import Progress
from layerwise.explain._training import train
from layerwise.features._finite import require_finite
from layerwise.models._seeded import seeded

_SLOPE = 0.3
_FOOT = 4
"""Sides of the map that a vector is folded into."""


@final
@paper(
    "Inverting Visual Representations with Convolutional Networks",
    year=2015,
    arxiv="1506.02753",
    no=(93,),
)
class FeatureInverter(nn.Module):
    """Makes pictures of features. Build it with `fit`.

    Args:
        shape: of the features of one sample.
        picture: channels, height and width.
        width: of the fully connected layers.

    Example:
        >>> image = torch.rand(20, 3, 8, 8)
        >>> inverter = FeatureInverter.fit(image.flatten(1), image, epochs=2)
        >>> inverter(image.flatten(1)).shape
        torch.Size([20, 3, 8, 8])
    """

    mean: Float[Tensor, "*_"]
    scale: Float[Tensor, "*_"]
    base: Float[Tensor, "c 1 1"]
    contrast: Float[Tensor, "c 1 1"]

    def __init__(
        self, shape: tuple[int, ...], picture: tuple[int, int, int], *, width: int
    ) -> None:
        super().__init__()
        self.picture = picture
        channels, height, _ = picture
        rest = (1,) * (len(shape) - 1)
        for name, size in (("mean", shape[0]), ("scale", shape[0])):
            self.register_buffer(name, torch.ones(size, *rest))
        for name in ("base", "contrast"):
            self.register_buffer(name, torch.ones(channels, 1, 1))
        most = min(256, 4 * height)
        foot = _FOOT if len(shape) == 1 else shape[1]
        ups = max(0, math.ceil(math.log2(height / foot)))
        widths = [max(16, most >> max(0, step - 1)) for step in range(ups + 1)]
        start = _from_vector if len(shape) == 1 else _from_map
        self.start = start(shape[0], widths[0], width)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            up = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
            blocks += [up, nn.LeakyReLU(_SLOPE)]
        self.up = nn.Sequential(*blocks, nn.Conv2d(widths[-1], channels, 3, padding=1))

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"] | Float[Tensor, "n d a b"],
        image: Float[Tensor, "_ c h w"],
        *,
        width: int | None = None,
        epochs: int = 20,
        batch: int = 32,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> FeatureInverter:
        """Train it.

        Args:
            features: of each picture, as one row or as a map.
            image: the pictures, in any range.
            width: of the fully connected layers; without it 16 times the picture's sides, at most
                the paper's 4,096.
            epochs: times that all pictures are seen.
            batch: samples in a step.
            rate: of Adam.
            generator: for the first weights and the order; seed 0 without it.
            progress: called as `progress(stage, done, total)` after every step.

        Raises:
            LayerwiseError: no samples, not one row for each picture, or values that are not finite.
        """
        generator = generator or torch.Generator().manual_seed(0)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        channels, height, columns = image.shape[1:]
        broad = min(4096, 16 * height) if width is None else width
        with seeded(seed):
            inverter = cls(tuple(features.shape[1:]), (channels, height, columns), width=broad)
        inverter = inverter.to(image)
        inverter._measure(features, image)
        train(
            inverter,
            features.detach(),
            image.detach(),
            epochs=epochs,
            batch=batch,
            rate=rate,
            generator=generator,
            progress=progress,
        )
        return inverter

    def _measure(self, features: Tensor, image: Tensor) -> None:
        """Take the means and deviations of every channel."""
        axes = (0, *range(2, features.ndim))
        if features.numel() and image.numel():
            self.mean = features.mean(axes).view_as(self.mean)
            self.scale = _deviation(features, axes).view_as(self.scale)
            self.base = image.mean((0, 2, 3)).view_as(self.base)
            self.contrast = _deviation(image, (0, 2, 3)).view_as(self.contrast)

    def forward(
        self, features: Float[Tensor, "n d"] | Float[Tensor, "n d a b"]
    ) -> Float[Tensor, "n c h w"]:
        """Make pictures.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        found = self.up(self.start((features - self.mean) / self.scale))
        if found.shape[2:] != self.picture[1:]:
            found = nn.functional.interpolate(found, self.picture[1:], mode="bilinear")
        return found * self.contrast + self.base


def _from_vector(channels: int, out: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(channels, width),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(width, width),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(width, out * _FOOT**2),
        nn.LeakyReLU(_SLOPE),
        nn.Unflatten(1, (out, _FOOT, _FOOT)),
    )


def _from_map(channels: int, out: int, _: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (channels, out, out):
        layers += [nn.Conv2d(before, out, 3, padding=1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)


def _deviation(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Standard deviation, 1 where nothing varies."""
    found = values.std(axes, correction=0)
    return torch.where(found > 1e-6, found, 1)
