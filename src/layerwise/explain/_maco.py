"""MACO: pictures that a unit answers to, with the magnitude spectrum of natural ones (P137).

Only the phase of the picture's Fourier transform is optimised; the magnitudes are those of natural
pictures and stay (equations 4 and 5 of the paper). Every step shows the network random crops, large
ones first, small ones in the end, under a little noise. There is no penalty to weigh. The gradients
at the picture, summed over the steps, say where it matters.

The photographs behind the magnitudes, and that they are taken before the sigmoid, are ours, see
`Spectrum`; so are the mirrored columns of the half spectrum, without which a real picture does not
keep its magnitudes. As in the authors' code the phases are standardised, without which the same
steps reach a fraction of the answer; they are given the spread of uniform ones. The paper's noise,
for values from -1 to 1, is halved for those from 0 to 1.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress, ascend
from layerwise.explain._chance import normal, uniform
from layerwise.explain._differentiable import differentiable
from layerwise.explain._pixels import Pixels
from layerwise.explain._response import Unit, identity, layer_of, respond
from layerwise.explain._spectrum import Spectrum, natural
from layerwise.explain._visualisation import Visualisation
from layerwise.models import Network


@paper(
    "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization",
    year=2023,
    arxiv="2306.06805",
    no=(137,),
)
def maco(
    network: Network,
    *,
    layer: str | None = None,
    unit: Unit = 0,
    place: int | None = None,
    size: int | None = None,
    side: int | None = None,
    steps: int | None = None,
    crops: int = 32,
    widths: tuple[float, float] = (0.5, 0.05),
    noise: float = 0.08,
    rate: float = 1.0,
    spectrum: Spectrum | None = None,
    generator: torch.Generator | None = None,
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Visualisation:
    """Make a picture that a unit answers to, by its Fourier phase alone.

    Args:
        network: one that takes pictures.
        layer: address of one layer; without it, the network's output.
        unit: number of a channel or class, or a direction `[d]` in the layer.
        place: only the answer there, counted along the rows; without it, the mean over places.
        size: pixels of the picture's sides; without it, twice those that the network takes (the
            paper: 512 for 224).
        side: pixels of the sides of what the network is shown; without it, those it takes.
        steps: of the ascent; without it, the paper's 256 for networks that take 224 pixels, and in
            proportion fewer for less.
        crops: shown in each step; 8 are enough on a CPU.
        widths: of the crops in the first step and in the last, as parts of the picture's sides.
        noise: standard deviation of the noise, for values from -1 to 1.
        rate: of NAdam, for phases.
        spectrum: magnitudes and colours; without it, those of natural photographs.
        generator: for the first phase, the crops and the noise; seed 0 without it.
        keep: file for the state; a run that was stopped goes on from it.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: the network takes no pictures or cannot be differentiated, or there is no
            such layer, unit or place.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh()).eval()
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
        >>> seen = maco(network, layer="1", unit=1, steps=8, crops=4)
        >>> seen.picture.shape, len(seen.scores), float(seen.importance.max())
        (torch.Size([3, 16, 16]), 8, 1.0)
    """
    pixels, chosen = Pixels.of(network), layer_of(network, layer)
    shown = pixels.shape[1:] if side is None else (side, side)
    count = pixels.steps(256) if steps is None else steps
    if min(crops, *shown) < 1:
        raise LayerwiseError(f"{crops} crops of {shown} pixels; give at least 1 of each")
    source = _natural(pixels, size) if spectrum is None else spectrum
    source = copy.deepcopy(source).to(device=network.device, dtype=pixels.mean.dtype)
    generator = generator or torch.Generator().manual_seed(0)
    phase = math.pi * (2 * uniform(source.magnitude, generator) - 1)

    def objective(
        phase: Tensor, step: int, chance: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        picture = source(_spread(phase))
        width = widths[0] + (widths[1] - widths[0]) * step / max(1, count - 1)
        seen = _crops(picture, crops, width, shown, chance)
        seen = seen + noise / 2 * normal(seen, chance) + noise / 2 * (uniform(seen, chance) - 0.5)
        answer = respond(network, pixels.feed(seen), chosen, unit, place).mean()
        return answer, answer, picture

    with differentiable(network):
        summit = ascend(
            phase,
            objective,
            steps=count,
            optimiser=lambda changed: torch.optim.NAdam(changed, lr=rate),
            generator=generator,
            keep=keep,
            what=""
            if keep is None
            else identity(
                network,
                chosen,
                unit,
                f"place {place}, {source.size} seen as {shown}, {count} steps of {crops}, {widths}",
            ),
            progress=progress,
        )
        with torch.no_grad():
            picture = source(_spread(summit.start))
            seen = _crops(picture, crops, 0.25, shown, generator)
            reached = respond(network, pixels.feed(seen), chosen, unit, place).mean()
    return Visualisation.of(picture, summit, reached)


def _spread(phase: Float[Tensor, "c h f"]) -> Float[Tensor, "c h f"]:
    """Phases with the spread of uniform ones: as they drift apart, a step turns them less."""
    return math.pi / math.sqrt(3) * (phase - phase.mean()) / phase.std().clamp(min=1e-4)


def _natural(pixels: Pixels, size: int | None) -> Spectrum:
    channels, height, width = pixels.shape
    if channels != 3:
        raise LayerwiseError(
            f"natural photographs have 3 channels and the network takes {channels}; give "
            "spectrum=Spectrum.fit(pictures) of pictures like those it was trained on"
        )
    if size is not None and size < 2:
        raise LayerwiseError(f"a picture of {size} pixels has no spectrum; give at least 2")
    return natural(2 * height, 2 * width) if size is None else natural(size, size)


def _crops(
    picture: Tensor, count: int, width: float, shown: tuple[int, int], generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Squares around the middle, at the size that is shown; beyond its edges a picture mirrors."""
    centre = 0.3 * normal(picture.new_empty(count, 2), generator)  # the picture is -1 to 1
    part = (width + 0.05 * normal(picture.new_empty(count), generator)).clamp(0.05, 1)
    scale = part[:, None, None] * torch.eye(2).to(picture)
    affine = torch.cat([scale, centre[:, :, None]], 2)
    grid = nn.functional.affine_grid(affine, [count, len(picture), *shown], align_corners=False)
    return nn.functional.grid_sample(
        picture.expand(count, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
