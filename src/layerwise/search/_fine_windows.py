"""Windows of a fine layer around coarse matches, and what moves these (LoFTR, P222)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

WINDOW = 5
"""Fine cells across a window."""


def expectation(
    one: Float[Tensor, "m a d"], other: Float[Tensor, "m a d"]
) -> tuple[Float[Tensor, "m 2"], Float[Tensor, " m"]]:
    """Mean place of the window's middle in the other's window, from -1 to 1, and its variance."""
    middle = one[:, one.shape[1] // 2]
    heat = ((other @ middle.unsqueeze(2)).squeeze(2) / one.shape[2] ** 0.5).softmax(1)
    line = torch.linspace(-1, 1, WINDOW).to(one)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), 2).flatten(0, 1)
    mean = heat @ grid
    return mean, (heat @ grid.square() - mean.square()).clamp(min=0).sum(1)


def windows(
    maps: Float[Tensor, "c h w"], size: tuple[int, int], places: Float[Tensor, "m 2"]
) -> Float[Tensor, "m a c"]:
    """Windows of fine cells around places in pixels, read between cells where need be."""
    reach = torch.arange(WINDOW).to(places) - WINDOW // 2
    steps = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), 2).flatten(0, 1)
    cells = places.new_tensor([maps.shape[2], maps.shape[1]])
    middle = places / places.new_tensor([size[1], size[0]]) * 2 - 1
    grid = middle.unsqueeze(1) + steps * 2 / cells
    read = nn.functional.grid_sample(maps[None], grid[None], align_corners=False)
    return read[0].permute(1, 2, 0)
