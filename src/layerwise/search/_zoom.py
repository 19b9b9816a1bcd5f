"""Zoom: recognition looks where it has to look, and where that is shows a bias (P195).

A zoom (S, a) resizes a picture such that its shorter side has S pixels, and cuts the network's own
size around the middle of one of 3 x 3 parts; what lies outside is black. 36 scales and 9 anchors
make 324 zooms. The study asks at how many pictures some zoom is right, and at which anchor; the
prediction averages over zooms that look closer than usual, over all of them or over the few with
the least entropy. Ours: the list of scales, even steps in their logarithm from 16 to 1024 pixels
where the network takes 224, and in proportion elsewhere; and scales are taken from the pictures as
prepared, so that no step needs their files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.models._hooks import at_rest

SCALES = tuple(round(16 * 64 ** (k / 35)) / 224 for k in range(36))
"""Shorter sides, as parts of the size that the network takes."""

_ANCHORS = 9
_AT_ONCE = 32


@final
@dataclass(frozen=True)
class ZoomStudy:
    """Which zooms are right.

    Args:
        right: for each picture, scale and anchor (row by row).
        scales: shorter sides, as parts of the network's size.
    """

    right: Bool[Tensor, "n s 9"]
    scales: Float[Tensor, " s"]

    @property
    def bound(self) -> float:
        """Share of pictures that at least one zoom gets right."""
        return self.right.flatten(1).any(1).float().mean().item()

    @property
    def anchors(self) -> Float[Tensor, "3 3"]:
        """Share of right answers at each anchor, over all scales: where the pictures hold it."""
        return self.right.float().mean((0, 1)).view(3, 3)

    @property
    def hard(self) -> Int[Tensor, " h"]:
        """Pictures that no zoom gets right."""
        return (~self.right.flatten(1).any(1)).nonzero().flatten()


def zoom(
    image: Float[Tensor, "n c h w"], *, scale: float = 1.0, anchor: int = 4
) -> Float[Tensor, "n c h w"]:
    """Look at a part of pictures, closer or from further away, at their own size.

    Args:
        image: pictures, prepared.
        scale: above 1 looks closer, below 1 from further away.
        anchor: which of 3 x 3 parts stands in the middle, row by row.

    Raises:
        LayerwiseError: the scale is not positive, or there is no such anchor.

    Example:
        >>> image = torch.rand(1, 3, 6, 6)
        >>> bool(torch.allclose(zoom(image), image, atol=1e-5))
        True
    """
    if not (0 < scale < float("inf") and 0 <= anchor < _ANCHORS):
        raise LayerwiseError(f"scale={scale}, anchor={anchor}: give a positive scale and 0 to 8")
    require_finite(image, "pictures")
    if len(image) == 0:
        return image.clone()
    y, x = (2 / 3 * (place - 1) for place in divmod(anchor, 3))
    theta = torch.tensor([[[1 / scale, 0.0, x], [0.0, 1 / scale, y]]]).to(image)
    # Shrinking without smoothing would make pictures that no camera takes.
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[2:]]
        image_small = nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    else:
        image_small = image
    grid = nn.functional.affine_grid(
        theta.expand(len(image), -1, -1), list(image.shape), align_corners=False
    )
    return nn.functional.grid_sample(image_small, grid, align_corners=False)


def zoom_study(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    labels: Int[Tensor, " n"],
    *,
    scales: Sequence[float] = SCALES,
) -> ZoomStudy:
    """Try every zoom on pictures whose classes are known.

    Args:
        network: a classifier.
        image: pictures, prepared for it.
        labels: class of each.
        scales: shorter sides, as parts of the network's size.

    Raises:
        LayerwiseError: no pictures, as many labels as there are not, or no classifier.
    """
    if len(image) != len(labels) or len(image) == 0:
        raise LayerwiseError(
            f"{len(image)} pictures and {len(labels)} labels; give as many of each"
        )
    right = [
        torch.stack(
            [
                _logits(network, zoom(image, scale=scale, anchor=anchor)).argmax(1) == labels
                for anchor in range(_ANCHORS)
            ],
            1,
        )
        for scale in scales
    ]
    return ZoomStudy(torch.stack(right, 1), torch.tensor(list(scales), dtype=image.dtype))


@paper(
    "Zoom is what you need: An empirical study of the power of zoom and spatial biases in image "
    "classification",
    year=2023,
    arxiv="2304.05538",
    no=(195,),
)
def zoom_predict(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    *,
    zooms: int = 16,
    closest: float = 2.5,
    surest: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n k"]:
    """Probabilities averaged over closer looks at each picture.

    Args:
        network: a classifier.
        image: pictures, prepared for it.
        zooms: how many looks are drawn; the whole picture always counts among them.
        closest: largest scale.
        surest: average only so many looks, those with the least entropy; all of them without it.
        generator: draws scales and anchors; without it, one of seed 0.

    Raises:
        LayerwiseError: pictures that are not finite, no classifier, or an option out of range.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
        >>> zoom_predict(network, torch.rand(2, 3, 8, 8)).sum(1).round(decimals=4).tolist()
        [1.0, 1.0]
    """
    if zooms < 1 or closest < 1 or (surest is not None and not 1 <= surest <= zooms):
        raise LayerwiseError(
            f"zooms={zooms}, closest={closest}, surest={surest}: give at least 1, at least 1, and "
            "no more than there are zooms"
        )
    require_finite(image, "pictures")
    generator = generator or torch.Generator().manual_seed(0)
    scales = 1 + (closest - 1) * torch.rand(zooms - 1, generator=generator)
    anchors = torch.randint(_ANCHORS, (zooms - 1,), generator=generator)
    looks = [image]
    looks += [
        zoom(image, scale=scale, anchor=anchor)
        for scale, anchor in zip(scales.tolist(), anchors.tolist(), strict=True)
    ]
    found = torch.stack([_logits(network, look).softmax(1) for look in looks])
    if surest is None:
        return found.mean(0)
    entropy = torch.special.entr(found).sum(2)
    kept = entropy.topk(surest, dim=0, largest=False).indices
    return found.gather(0, kept.unsqueeze(2).expand(-1, -1, found.shape[2])).mean(0)


def _logits(network: Network, image: Tensor) -> Float[Tensor, "n k"]:
    with at_rest(network.module):
        parts = [network(part) for part in image.split(_AT_ONCE)]
    parts = [getattr(part, "logits", part) for part in parts]
    if not all(isinstance(part, Tensor) and part.ndim == 2 for part in parts):
        raise LayerwiseError(
            f"{network.name} gives no row of scores for a picture; give a classifier"
        )
    return torch.cat(parts)
