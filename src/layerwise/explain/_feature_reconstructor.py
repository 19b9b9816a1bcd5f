"""Feature reconstruction: how much of the picture a layer's tokens still hold (P240).

A decoder of one size is trained for every layer that is to be compared: tokens, made as wide as the
decoder, and a class token of its own go through transformer blocks without position codes, for the
tokens carry their place already; up-convolutions unfold every token into its patch. The mean square
error on held-out pictures then ranks the layers. What changes a picture at every pixel alike, such
as red for blue, is a rotation of the tokens, see `Rotation`.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.explain._training import train
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise
from layerwise.models._seeded import seeded


@final
@paper(
    "Image Reconstruction as a Tool for Feature Analysis",
    year=2025,
    arxiv="2506.07803",
    no=(240,),
)
class FeatureReconstructor(nn.Module):
    """Makes pictures of tokens. Build it with `fit`.

    Args:
        standardise: of the tokens' channels.
        picture: channels, height and width.
        grid: rows and columns of the tokens; what stands before them is not used.
        width: of the decoder.
        depth: blocks of the decoder.
        heads: of each block.

    Example:
        >>> tokens, image = torch.randn(20, 5, 8), torch.rand(20, 3, 8, 8)
        >>> reconstructor = FeatureReconstructor.fit(tokens, image, epochs=2)
        >>> reconstructor.grid, reconstructor(tokens).shape
        ((2, 2), torch.Size([20, 3, 8, 8]))
    """

    base: Float[Tensor, "c 1 1"]
    contrast: Float[Tensor, ""]

    def __init__(
        self,
        standardise: Standardise,
        picture: tuple[int, int, int],
        grid: tuple[int, int],
        *,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.standardise, self.picture, self.grid = standardise, picture, grid
        channels, height, _ = picture
        self.register_buffer("base", torch.zeros(channels, 1, 1))
        self.register_buffer("contrast", torch.ones(()))
        self.enter = nn.Linear(len(standardise.mean), width)
        self.summary = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        block = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        ups: list[nn.Module] = []
        for factor in _factors(max(1, round(height / grid[0]))):
            after = max(32, width // 2)
            ups += [nn.ConvTranspose2d(width, after, factor, stride=factor), nn.GELU()]
            width = after
        self.unfold = nn.Sequential(*ups, nn.Conv2d(width, channels, 3, padding=1))

    @classmethod
    def fit(
        cls,
        tokens: Float[Tensor, "n t d"],
        image: Float[Tensor, "_ c h w"],
        *,
        grid: tuple[int, int] | None = None,
        width: int | None = None,
        depth: int = 2,
        heads: int = 4,
        epochs: int = 20,
        batch: int = 32,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> FeatureReconstructor:
        """Train it.

        Args:
            tokens: of each picture.
            image: the pictures, in any range.
            grid: rows and columns of the tokens that have a place; without it, the largest square.
            width: of the decoder; without it the tokens', at most 192.
            depth: blocks of the decoder.
            heads: of each block.
            epochs: times that all pictures are seen.
            batch: samples in a step.
            rate: of Adam.
            generator: for the first weights and the order; seed 0 without it.
            progress: called as `progress(stage, done, total)` after every step.

        Raises:
            LayerwiseError: no samples, not one row of tokens for each picture, fewer tokens than
                the grid has places, or values that are not finite.
        """
        require_finite(tokens, "tokens")
        count = math.isqrt(tokens.shape[1])
        places = (count, count) if grid is None else grid
        if not 0 < places[0] * places[1] <= tokens.shape[1]:
            raise LayerwiseError(
                f"{tokens.shape[1]} tokens do not fill {places[0]} rows of {places[1]}; give grid= "
                "as it is"
            )
        generator = generator or torch.Generator().manual_seed(0)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        broad = min(192, tokens.shape[2]) if width is None else width
        standardise = Standardise.fit(tokens.detach().flatten(0, 1))
        channels, height, columns = image.shape[1:]
        with seeded(seed):
            decoder = cls(
                standardise,
                (channels, height, columns),
                places,
                width=heads * math.ceil(broad / heads),
                depth=depth,
                heads=heads,
            )
        decoder = decoder.to(image)
        if image.numel():
            decoder.base = image.detach().mean((0, 2, 3)).view_as(decoder.base)
            decoder.contrast = (
                (image.detach() - decoder.base).square().mean().sqrt().clamp(min=1e-6)
            )
        train(
            decoder,
            tokens.detach(),
            image.detach(),
            epochs=epochs,
            batch=batch,
            rate=rate,
            generator=generator,
            progress=progress,
        )
        return decoder

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n c h w"]:
        """Make pictures.

        Raises:
            LayerwiseError: a token is not finite.
        """
        require_finite(tokens, "tokens")
        rows, columns = self.grid
        placed = tokens[:, -rows * columns :]
        entered = self.enter(self.standardise(placed.flatten(0, 1))).unflatten(0, placed.shape[:2])
        joined = torch.cat([self.summary.expand(len(tokens), -1, -1), entered], 1)
        places = self.norm(self.blocks(joined)[:, 1:])
        found = self.unfold(places.transpose(1, 2).unflatten(2, self.grid))
        if found.shape[2:] != self.picture[1:]:
            found = nn.functional.interpolate(found, self.picture[1:], mode="bilinear")
        return found * self.contrast + self.base


def _factors(number: int) -> list[int]:
    """Prime factors, the largest first."""
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found[::-1]
