"""Reading depth and normals off one layer: what `probe3d` fits.

`LinearSurface` is ridge regression of the logarithm of the depth and of the three components of the
normal on the features of each place; each of the two chooses its penalty by leave-one-out errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.data import View
from layerwise.features import Ridge


@final
@dataclass(frozen=True)
class Surface:
    """Depth and normals of pictures, at whatever resolution.

    Args:
        depth: in front of the camera; infinite where there is nothing.
        normals: right, down, forward; of any length, 0 where there is nothing.
    """

    depth: Float[Tensor, "n h w"]
    normals: Float[Tensor, "n 3 h w"]

    def resized(self, size: tuple[int, int]) -> Surface:
        """Between places, linearly."""
        whole = torch.cat([self.depth[:, None], self.normals], 1)
        depth, normals = nn.functional.interpolate(whole, size, mode="bilinear").split([1, 3], 1)
        return Surface(depth[:, 0], normals)

    def at(self, size: tuple[int, int]) -> Surface:
        """The middle of each of fewer places, taken as it is: surfaces have edges."""
        rows, columns = middles(self.depth.shape[1:], size)
        return Surface(self.depth[:, rows][..., columns], self.normals[:, :, rows][..., columns])


def surface_of(views: Sequence[View]) -> Surface:
    """The truth of rendered views of one size."""
    depth, normals = ([getattr(view, f) for view in views] for f in ("depth", "normals"))
    return Surface(torch.stack(depth), torch.stack(normals))


def middles(size: Sequence[int], fewer: Sequence[int]) -> list[Int[Tensor, " _"]]:
    """Rows and columns of the pixels in the middle of each of fewer places."""
    return [
        ((torch.arange(few) + 0.5) * many / few).long()
        for many, few in zip(size, fewer, strict=True)
    ]


@runtime_checkable
class SurfaceReadout(Protocol):
    """What was fitted to read surfaces off a map."""

    def __call__(self, feature_map: Float[Tensor, "n c h w"]) -> Surface:
        """Depth and normals, at the map's resolution or finer."""
        ...


@final
class LinearSurface(nn.Module):
    """Reads depth and normals off each place of a map, linearly. Build it with `fit`.

    Args:
        readout: from the channels of a place to the logarithm of its depth and its normal.

    Example:
        >>> depth = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(0)) + 1
        >>> normals = torch.ones(4, 3, 5, 5)
        >>> linear = LinearSurface.fit(depth.log()[:, None], Surface(depth, normals))
        >>> bool((linear(depth.log()[:, None]).depth - depth).abs().max() < 1e-3)
        True
    """

    def __init__(self, readout: nn.Linear) -> None:
        super().__init__()
        self.readout = readout

    @classmethod
    def fit(cls, feature_map: Float[Tensor, "n c h w"], surface: Surface) -> LinearSurface:
        """Fit to all places that have a depth.

        Args:
            feature_map: a layer.
            surface: the truth; for more pixels than places, it is taken in their middle.

        Raises:
            LayerwiseError: fewer than two places with a depth, or features that are not finite.
        """
        truth = surface.at((feature_map.shape[2], feature_map.shape[3]))
        known = truth.depth.isfinite() & (truth.depth > 0)
        rows = feature_map.permute(0, 2, 3, 1)[known]
        log_depth = truth.depth[known].log().to(rows)
        targets = torch.cat(
            [log_depth[:, None], truth.normals.permute(0, 2, 3, 1)[known].to(rows)], 1
        )
        ridge = Ridge.fit(rows, targets)
        depth, normals = ridge.linear(ridge.best([0])), ridge.linear(ridge.best([1, 2, 3]))
        depth.weight.data[1:], depth.bias.data[1:] = normals.weight[1:], normals.bias[1:]
        return cls(depth.requires_grad_(False))

    def forward(self, feature_map: Float[Tensor, "n c h w"]) -> Surface:
        """Read a map at its own resolution."""
        read = self.readout(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return Surface(read[:, 0].exp(), read[:, 1:])
