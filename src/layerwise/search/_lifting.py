"""The parts of `LiftedDescriptor` (P245): a small backbone, its heads, and the lifting."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

CELL = 8
"""Pixels across a cell, of which each has one descriptor."""


@final
class Backbone(nn.Module):
    """Five stages, each half as fine as the last, whose last three are joined at 1/8.

    Args:
        widths: channels of the stages; the third is that of the joined map.
    """

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        ways = zip((1, *widths), widths, strict=False)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(i, o), conv(o, o), nn.MaxPool2d(2)) for i, o in ways
        )
        *_, c3, c4, c5 = widths
        self.down5, self.down4 = conv(c5, c5 // 2), conv(c4, c4 // 2)
        self.join4, self.join3 = conv(c4 + c5 // 2, c4), conv(c3 + c4 // 2, c3)

    def forward(self, grey: Float[Tensor, "n 1 H W"]) -> Float[Tensor, "n c h w"]:
        """Read pictures whose sides are multiples of 32."""
        maps = []
        x = nn.functional.instance_norm(grey)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.join4(torch.cat([maps[3], twice(self.down5(maps[4]))], 1))
        return self.join3(torch.cat([maps[2], twice(self.down4(x))], 1))


@final
class NormalHead(nn.Module):
    """Grows a map threefold by two, to three channels of length 1.

    Args:
        width: channels of the map, a multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, width // 2, width // 4)
        self.grow = nn.ModuleList(conv(c, c // 2) for c in widths)
        self.join = nn.ModuleList(
            conv(c + c // 2, o) for c, o in zip(widths, (*widths[1:], width // 4), strict=True)
        )
        self.last = nn.utils.skip_init(nn.Conv2d, width // 4, 3, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Normals of each pixel."""
        for grow, join in zip(self.grow, self.join, strict=True):
            wide = twice(x)
            x = join(torch.cat([wide, grow(wide)], 1))
        return nn.functional.normalize(self.last(x), dim=1)


@final
class Lifting(nn.Module):
    """Joins descriptors and normals by attention that is linear in the number of places.

    A place's query is multiplied by one vector for the whole picture, `sum_t softmax_t(k) v`.

    Args:
        dim: of the descriptors.
        layers: how many times.
    """

    def __init__(self, dim: int, *, layers: int = 3) -> None:
        super().__init__()
        wide = dim + 3 * CELL**2
        self.qkv = nn.ModuleList(linear(wide, 3 * wide) for _ in range(layers))
        self.merge = nn.ModuleList(linear(wide, wide) for _ in range(layers))
        self.inner = nn.ModuleList(linear(wide, 2 * wide) for _ in range(layers))
        self.outer = nn.ModuleList(linear(2 * wide, wide) for _ in range(layers))
        self.last = linear(wide, dim)

    def forward(
        self, raw: Float[Tensor, "n d h w"], normals: Float[Tensor, "n 3 H W"]
    ) -> Float[Tensor, "n d h w"]:
        """Descriptors of length 1."""
        cells = nn.functional.pixel_unshuffle(normals, CELL)
        x = torch.cat([raw, cells], 1).flatten(2).transpose(1, 2)
        parts = zip(self.qkv, self.merge, self.inner, self.outer, strict=True)
        for qkv, merge, inner, outer in parts:
            q, k, v = qkv(x).chunk(3, 2)
            x = x + merge(q * (k.softmax(1) * v).sum(1, keepdim=True))
            x = x + outer(inner(x).relu())
        lifted = self.last(x).transpose(1, 2).unflatten(2, raw.shape[2:])
        return nn.functional.normalize(lifted, dim=1)


def conv(width: int, out: int) -> nn.Sequential:
    """A 3 x 3 convolution with batch norm and rectifier."""
    return nn.Sequential(
        nn.utils.skip_init(nn.Conv2d, width, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def linear(width: int, out: int) -> nn.Linear:
    """A linear map whose weights are drawn later."""
    return nn.utils.skip_init(nn.Linear, width, out)


def twice(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c H W"]:
    """Twice as many rows and columns."""
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def start(module: nn.Module, generator: Generator) -> None:
    """Draw the weights; what is added to a place's own starts at zero."""
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
        if ".merge." in name or ".outer." in name:
            nn.init.zeros_(weight)
