"""Activation maximisation on pixels under augmentation, as it works for vision transformers (P116).

Pixels climb from noise towards the sum of a unit's answers over all places. Every step shows the
network several copies of the picture, each shifted, in other colours `sigma x + mu`, and under
Gaussian noise that fades out, and takes a little total variation away, the sum of squared
differences of neighbours. Without all that (`tv=0, views=1, noise=0, colour=0, shift=0`) it is
plain gradient ascent on pixels, which finds noise that no eye makes sense of.

The units of the paper are those inside the MLP of a block, after its activation. Its public code
draws one number of noise for each colour of a copy; here, as in the paper, each pixel has its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress, ascend
from layerwise.explain._chance import normal, uniform
from layerwise.explain._differentiable import differentiable
from layerwise.explain._pixels import Pixels
from layerwise.explain._response import Unit, answers, identity, layer_of, respond
from layerwise.explain._visualisation import Visualisation
from layerwise.models import Network


@paper(
    "What do Vision Transformers Learn? A Visual Exploration",
    year=2022,
    arxiv="2212.06727",
    no=(116,),
)
def pixel_ascent(
    network: Network,
    *,
    layer: str | None = None,
    unit: Unit = 0,
    side: int | None = None,
    steps: int | None = None,
    views: int = 8,
    rate: float = 0.1,
    tv: float = 0.0005,
    noise: float = 0.5,
    colour: float = 1.0,
    shift: int = 32,
    generator: torch.Generator | None = None,
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Visualisation:
    """Make a picture that a unit answers to, pixel by pixel.

    Args:
        network: one that takes pictures.
        layer: address of one layer; without it, the network's output.
        unit: number of a channel or class, or a direction `[d]` in the layer.
        side: pixels of the picture's sides; without it, those that the network takes.
        steps: of the ascent; without it, the paper's 400 for networks that take 224 pixels, and in
            proportion fewer for less.
        views: copies of the picture in each step.
        rate: of Adam, for values from 0 to 1.
        tv: weight of the total variation.
        noise: standard deviation of the noise in the first step; it fades to none.
        colour: how far the colours of a copy are moved, and the logarithm of their scale.
        shift: most pixels that a copy is moved, around the edges.
        generator: for all chance; seed 0 without it.
        keep: file for the state; a run that was stopped goes on from it.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: the network takes no pictures or cannot be differentiated, or there is no
            such layer or unit.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU()).eval()
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
        >>> seen = pixel_ascent(network, layer="1", unit=1, steps=8)
        >>> seen.picture.shape, bool(seen.reached >= 0)
        (torch.Size([3, 8, 8]), True)
    """
    pixels, chosen = Pixels.of(network), layer_of(network, layer)
    count = pixels.steps(400) if steps is None else steps
    channels, *shape = pixels.shape
    shape = shape if side is None else [side, side]
    if min(views, *shape) < 1:
        raise LayerwiseError(f"{views} views of {shape} pixels; give at least 1 of each")
    generator = generator or torch.Generator().manual_seed(0)
    start = uniform(pixels.mean.new_empty(channels, *shape), generator)

    def objective(
        picture: Tensor, step: int, chance: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = shifted(picture, views, shift, chance)
        column = seen.new_empty(views, channels, 1, 1)
        scale = (colour * (2 * uniform(column, chance) - 1)).exp()
        seen = scale * seen + colour * (2 * uniform(column, chance) - 1)
        seen = seen + noise * (1 - (step + 1) / count) * normal(seen, chance)
        found = answers(network, pixels.feed(seen), chosen, unit)
        return found.sum() - tv * total_variation(picture), found.mean(), picture

    options = f"{count} steps of {views} views, {tv} {noise} {colour} {shift}, {shape} pixels"
    with differentiable(network):
        summit = ascend(
            start,
            objective,
            steps=count,
            optimiser=lambda changed: torch.optim.Adam(changed, lr=rate),
            generator=generator,
            after=lambda picture: picture.clamp(0, 1),
            keep=keep,
            what="" if keep is None else identity(network, chosen, unit, options),
            progress=progress,
        )
        with torch.no_grad():
            reached = respond(network, pixels.feed(summit.start[None]), chosen, unit)[0]
    return Visualisation.of(summit.start, summit, reached)


def total_variation(picture: Float[Tensor, "c h w"]) -> Float[Tensor, ""]:
    """Sum of the squared differences of neighbouring pixels."""
    return picture.diff(dim=1).square().sum() + picture.diff(dim=2).square().sum()


def shifted(
    picture: Tensor, views: int, most: int, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Copies, each moved by as much as chance has it; what leaves on one side comes in beyond."""
    drawn = torch.randint(
        -most, most + 1, (views, 2), generator=generator, device=generator.device
    ).tolist()
    return torch.stack([picture.roll((down, right), (1, 2)) for down, right in drawn])
