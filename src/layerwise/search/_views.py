"""The views of a picture that off-the-shelf features are taken from: jitter and patches (P086)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError

Box = tuple[float, float, float]
"""Centre to the right and down, and half the side, in units where the picture is -1 to 1."""


def jitter(image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 16 c h w"]:
    """Sixteen views: the whole, five crops of 4/9 of it, two turns by 15 degrees, all mirrored.

    Args:
        image: pictures.

    Raises:
        LayerwiseError: there are none.

    Example:
        >>> image = torch.rand(1, 3, 6, 6)
        >>> views = jitter(image)
        >>> bool(torch.allclose(views[:, 0], image, atol=1e-5))
        True
        >>> bool(torch.allclose(views[:, 8], image.flip(3), atol=1e-5))
        True
    """
    third, side = 1 / 3, 2 / 3
    corners = [(x, y, side) for y in (-third, third) for x in (-third, third)]
    boxes = [(0.0, 0.0, 1.0), (0.0, 0.0, side), *corners]
    straight = _cut(image, boxes)
    ratio = image.shape[3] / image.shape[2]
    turned = [_warp(image, _turn(angle, ratio)) for angle in (-15.0, 15.0)]
    views = torch.cat([straight, torch.stack(turned, 1)], 1)
    return torch.cat([views, views.flip(4)], 1)


def patches(image: Float[Tensor, "n c h w"], *, levels: int = 4) -> Float[Tensor, "n a c h w"]:
    """Overlapping patches: at each level one more along each side, neighbours sharing half.

    Args:
        image: pictures.
        levels: the first is the whole picture; 4 make 1 + 4 + 9 + 16 = 30 patches.

    Raises:
        LayerwiseError: there are none.

    Example:
        >>> patches(torch.rand(1, 3, 6, 6), levels=2).shape
        torch.Size([1, 5, 3, 6, 6])
    """
    boxes: list[Box] = []
    for level in range(1, levels + 1):
        half = 2 / (level + 1)
        centres = [half - 1 + i * half for i in range(level)]
        boxes += [(x, y, half) for y in centres for x in centres]
    return _cut(image, boxes)


def _cut(image: Float[Tensor, "n c h w"], boxes: Sequence[Box]) -> Float[Tensor, "n a c h w"]:
    """Cut boxes out, each at the picture's own size."""
    maps = [[[half, 0.0, x], [0.0, half, y]] for x, y, half in boxes]
    return torch.stack([_warp(image, affine) for affine in maps], 1)


def _turn(degrees: float, ratio: float) -> list[list[float]]:
    """Rotation in a picture that is `ratio` times as wide as high."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[cosine, -sine / ratio, 0.0], [sine * ratio, cosine, 0.0]]


def _warp(image: Float[Tensor, "n c h w"], affine: list[list[float]]) -> Tensor:
    if image.numel() == 0:
        raise LayerwiseError(f"pictures of shape {list(image.shape)} hold nothing; give at least 1")
    theta = torch.tensor(affine, dtype=image.dtype, device=image.device).expand(len(image), -1, -1)
    grid = nn.functional.affine_grid(theta, list(image.shape), align_corners=False)
    return nn.functional.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
