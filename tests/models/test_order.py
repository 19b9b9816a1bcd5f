"""A grid is kept where tokens lie row by row, and taken back where they are sorted otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import layerwise


class Block(nn.Module):
    """Mixes tokens a little, as attention does, around a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.value = nn.Linear(12, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        told = self.value(self.norm(tokens))
        return tokens + 0.5 * told + 0.5 * told.mean(1, keepdim=True)


class Windows(nn.Module):
    """Sorts tokens by their place in windows of 2 x 2 before the second block, or not at all."""

    def __init__(self, *, sort: bool) -> None:
        super().__init__()
        self.sort = sort
        self.embed = nn.Conv2d(3, 12, 4, 4)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = self.blocks[0](tokens)
        if self.sort:
            side = images.shape[2] // 8
            windows = tokens.unflatten(1, (side, 2, side, 2))
            tokens = windows.permute(0, 2, 4, 1, 3, 5).flatten(1, 4)
        return self.blocks[2](self.blocks[1](tokens))


@pytest.mark.parametrize("sort", [False, True])
def test_sorted_tokens_have_no_grid(sort: bool) -> None:
    network = layerwise.open(Windows(sort=sort).eval(), example=torch.rand(1, 3, 32, 32))
    grids = [network.layers[f"blocks.{i}"].sure.grid for i in range(3)]
    assert grids == [(8, 8), None, None] if sort else [(8, 8)] * 3
    assert network.layers["blocks.1.norm:in"].sure.grid is None or not sort


def test_a_network_that_ignores_half_of_the_picture_keeps_its_grid() -> None:
    class Blind(Windows):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images * (torch.arange(32) >= 16))

    network = layerwise.open(Blind(sort=False).eval(), example=torch.rand(1, 3, 32, 32))
    assert network.layers["blocks.2"].sure.grid == (8, 8)
