"""A decoder of depth and normals over several layers, as P118 trains it on frozen features.

As in DPT the layers are projected to one width and joined from the latest to the earliest, each
join a residual unit, on grids that grow by two with every earlier layer. The depth is the
expectation over bins between the least and the greatest depth that was seen; its loss is the
scale-invariant logarithmic one plus that of its gradients. Normals are fitted by the negative
log-likelihood of the angle under a concentration that is predicted beside them. Width and steps are
far below the paper's, so that a probe takes minutes on a CPU, and channels are standardised first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise
from layerwise.measures._surface import Surface
from layerwise.measures._surface_losses import depth_loss, normal_loss
from layerwise.models._seeded import seeded

Maps = Tensor | Sequence[Tensor]
"""One map `[n c h w]` or several of the same pictures, the earliest layer first."""


@final
class SurfaceDecoder(nn.Module):
    """Reads depth and normals off maps of one or several layers. Build it with `fit`.

    Args:
        standardise: of the channels of each map.
        depths: least and greatest depth.
        dim: width of the decoder.
        bins: of the depth.

    Example:
        >>> depth = torch.linspace(1, 2, 8).reshape(8, 1, 1).expand(8, 6, 6)
        >>> truth = Surface(depth, torch.ones(8, 3, 6, 6))
        >>> decoder = SurfaceDecoder.fit(depth[:, None], truth, dim=16, steps=60, rate=0.005)
        >>> bool((decoder(depth[:, None]).depth - depth).abs().mean() < 0.2)
        True
    """

    bins: Float[Tensor, " b"]

    def __init__(
        self,
        standardise: Sequence[Standardise],
        depths: tuple[float, float],
        *,
        dim: int = 64,
        bins: int = 256,
    ) -> None:
        super().__init__()
        self.standardise = nn.ModuleList(standardise)
        self.projections = nn.ModuleList(nn.Linear(len(each.mean), dim) for each in standardise)
        self.joins = nn.ModuleList(_Residual(dim) for _ in standardise)
        self.head = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU())
        self.depth, self.normals = nn.Conv2d(dim, bins, 1), nn.Conv2d(dim, 4, 1)
        self.register_buffer("bins", torch.linspace(*depths, bins))

    @classmethod
    def fit(
        cls,
        feature_map: Maps,
        surface: Surface,
        *,
        dim: int = 64,
        steps: int = 300,
        batch: int = 8,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> SurfaceDecoder:
        """Train on pictures whose surfaces are known.

        Args:
            feature_map: one layer or several.
            surface: the truth; for more pixels than the output has, it is taken at their middle.
            dim: width.
            steps: of AdamW, its rate falling to 0 along half a cosine.
            batch: pictures in a step.
            rate: the first learning rate.
            generator: for the first weights and the batches; without it, one of seed 0.

        Raises:
            LayerwiseError: no known depth, or features that are not finite.
        """
        maps = _several(feature_map)
        for each in maps:
            require_finite(each)
        known = surface.depth[surface.depth.isfinite() & (surface.depth > 0)]
        if len(known) == 0:
            raise LayerwiseError("no pixel has a finite positive depth; there is nothing to fit")
        generator = generator or torch.Generator().manual_seed(0)
        depths = float(known.min()), float(known.max())
        with seeded(int(torch.randint(2**31, (), generator=generator))):
            decoder = cls(
                [Standardise.fit(_rows(each).flatten(0, 2)) for each in maps], depths, dim=dim
            )
        decoder.to(maps[0])
        optimiser = torch.optim.AdamW(decoder.parameters(), lr=rate)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        truth: Surface | None = None
        with torch.enable_grad():
            for _ in range(steps):
                rows = torch.randint(len(maps[0]), (batch,), generator=generator)
                depth, normals = decoder._read([m.detach()[rows] for m in maps])
                truth = truth or surface.at((depth.shape[1], depth.shape[2]))
                loss = depth_loss(depth, truth.depth[rows].to(depth))
                loss = loss + normal_loss(normals, truth.normals[rows].to(depth))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                falling.step()
        return decoder.requires_grad_(False).eval()

    def forward(self, feature_map: Maps) -> Surface:
        """Read maps of the same layers.

        Raises:
            LayerwiseError: another number of layers than was fitted.
        """
        maps = _several(feature_map)
        if len(maps) != len(self.projections):
            raise LayerwiseError(f"{len(maps)} layers for a decoder of {len(self.projections)}")
        depth, normals = self._read(maps)
        return Surface(depth, normals[:, :3])

    def _read(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Depth `[n h w]`, and normals with the logit of their concentration `[n 4 h w]`."""
        rows, columns = maps[-1].shape[2:]
        joined = torch.zeros((), dtype=maps[-1].dtype, device=maps[-1].device)
        parts = zip(self.standardise, self.projections, self.joins, maps, strict=True)
        for step, (standardise, project, join, each) in enumerate(reversed(list(parts))):
            size = (rows * 2**step, columns * 2**step)
            if step:
                joined = _resized(joined, size)
            places = _rows(each)
            projected = project(standardise(places.flatten(0, 2))).unflatten(0, places.shape[:3])
            joined = join(joined + _resized(projected.permute(0, 3, 1, 2), size))
        top = self.head(joined)
        depth = torch.einsum("nbhw,b->nhw", self.depth(top).softmax(1), self.bins)
        return depth, self.normals(top)


@final
class _Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.inner(x)


def _several(feature_map: Maps) -> list[Tensor]:
    return [feature_map] if isinstance(feature_map, Tensor) else list(feature_map)


def _rows(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w c"]:
    return maps.permute(0, 2, 3, 1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(maps, size, mode="bilinear", antialias=True)
