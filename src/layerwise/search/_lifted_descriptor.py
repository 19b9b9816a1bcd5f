"""LiftFeat: local descriptors lifted by the surface normals that the network sees (P245).

A small network reads a grey picture and gives, for each cell of 8 x 8 pixels, a raw descriptor and
where in the cell its keypoint lies (64 places, or none), and for each pixel a surface normal. The
normals of a cell, 192 numbers, join its descriptor, pass through attention that is linear in the
number of cells, and come out as the lifted descriptor. It learns from pairs of pictures of the same
thing, of which the second is seen through random homographies: a dual softmax over all pairs of
cells, of raw and of lifted descriptors, has to be high for the true ones.

The paper takes normals from the depth that another network guesses, and keypoints from another
detector; its code trains the lifted descriptors only. Here normals are given, by a renderer or by
any such network; without them the third head learns from matching alone. Keypoints are each cell's
strongest corner (Harris) of the picture, and raw descriptors are trained as well, to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._correspond import correspond
from layerwise.search._dense import centres, rows
from layerwise.search._homography import carry, random_homographies, seen_through
from layerwise.search._lifting import CELL, Backbone, Lifting, NormalHead, conv, start
from layerwise.search._picture_matches import PictureMatches, require_pairs

_COARSEST = 32
_TEMPERATURE = 0.1


@final
@dataclass(frozen=True)
class Lifted:
    """What the network says of pictures.

    Args:
        raw: descriptors of cells before the lifting, of length 1.
        lifted: after it.
        normals: of each pixel, of length 1.
        keypoints: logits of each place in a cell, row by row, and of none.
    """

    raw: Float[Tensor, "n d h w"]
    lifted: Float[Tensor, "n d h w"]
    normals: Float[Tensor, "n 3 H W"]
    keypoints: Float[Tensor, "n 65 h w"]


@final
@paper(
    "LiftFeat: 3D Geometry-Aware Local Feature Matching", year=2025, arxiv="2505.03422", no=(245,)
)
class LiftedDescriptor(nn.Module):
    """Describes cells of pictures by what they look like and how they lie. Build it with `fit`.

    Args:
        widths: channels of the backbone's five stages.
        dim: of the descriptors.

    Example:
        >>> image = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
        >>> lift = LiftedDescriptor.fit(image, image, widths=(4, 4, 8, 8, 8), steps=1)
        >>> lift(image).lifted.shape, lift(image).normals.shape
        (torch.Size([2, 64, 4, 8]), torch.Size([2, 3, 32, 64]))
        >>> matches = lift.match(image, image)[0]
        >>> bool(torch.equal(matches.places, matches.others))
        True
    """

    def __init__(
        self, widths: tuple[int, int, int, int, int] = (24, 24, 64, 64, 128), *, dim: int = 64
    ) -> None:
        super().__init__()
        width = widths[2]
        self.backbone = Backbone(widths)
        self.describe = nn.Sequential(
            conv(width, width), nn.utils.skip_init(nn.Conv2d, width, dim, 1)
        )
        self.point = nn.Sequential(
            conv(width, width), nn.utils.skip_init(nn.Conv2d, width, CELL**2 + 1, 1)
        )
        self.lie = NormalHead(width)
        self.lift = Lifting(dim)

    @classmethod
    def fit(
        cls,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "m 3 _ _"],
        *,
        normals: Float[Tensor, "p 3 _ _"] | None = None,
        widths: tuple[int, int, int, int, int] = (24, 24, 64, 64, 128),
        dim: int = 64,
        steps: int = 20,
        batch: int = 4,
        rate: float = 3e-3,
        strength: float = 0.1,
        generator: Generator | None = None,
    ) -> LiftedDescriptor:
        """Train on pairs of pictures.

        Args:
            image: pictures.
            partner: of each another of the same thing, pixel by pixel, as in other light; the
                pictures themselves where there is none.
            normals: of the pictures' surfaces: right, down and forward; 0 where unknown.
            widths: channels of the backbone's stages, multiples of 4 from the third on.
            dim: of the descriptors.
            steps: of Adam; some hundreds for use.
            batch: pairs in a step.
            rate: of Adam.
            strength: how far the corners of the second picture move, in half sides.
            generator: for the start and the pairs.

        Raises:
            LayerwiseError: no pictures, partners or normals of other sizes, values that are not
                finite, or widths that are no multiples of 4.
        """
        _require(image, partner, normals, widths)
        drawn = generator or Generator().manual_seed(0)
        lift = cls(widths, dim=dim)
        start(lift, drawn)
        lift = lift.to(image.device).train()
        # In single precision, whatever is given: so short a training follows every rounding.
        given, image, partner = image, _whole_cells(image.float()), _whole_cells(partner.float())
        truth = torch.zeros_like(image) if normals is None else _whole_cells(normals.to(image))
        corners = _corners(image)
        optimiser = torch.optim.Adam(lift.parameters(), lr=rate)
        with torch.enable_grad():
            for _ in range(steps):
                chosen = torch.randint(len(image), (batch,), generator=drawn)
                maps = random_homographies(batch, strength=strength, generator=drawn).to(image)
                one, other = (
                    lift._see(image[chosen]),
                    lift._see(seen_through(partner[chosen], maps)),
                )
                loss = sum(
                    _matching_loss(getattr(one, name), getattr(other, name), maps)
                    for name in ("raw", "lifted")
                )
                known = truth[chosen].norm(dim=1)
                off = 1 - (one.normals * truth[chosen]).sum(1) / known.clamp(min=1e-6)
                loss = loss + (off * (known > 0)).sum() / (known > 0).sum().clamp(min=1)
                loss = loss + nn.functional.cross_entropy(one.keypoints, corners[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return lift.requires_grad_(False).eval().to(given)

    def forward(self, image: Float[Tensor, "n 3 H W"]) -> Lifted:
        """Describe pictures; sides that are no multiples of 32 are brought to the next one.

        Args:
            image: pictures.

        Raises:
            LayerwiseError: no pictures, or they are not finite.
        """
        _require(image, image, None, (4, 4, 4, 4, 4))
        return self._see(_whole_cells(image))

    def match(
        self,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "m 3 _ _"],
        *,
        least: float = 0.0,
    ) -> list[PictureMatches]:
        """Match keypoints that are each other's nearest by their lifted descriptors.

        Args:
            image: pictures.
            partner: for each of them the picture to match with.
            least: how probable a keypoint must be in a cell that is matched.

        Raises:
            LayerwiseError: no pictures, not as many partners, or values that are not finite.
        """
        require_pairs(image, partner)
        seen, places, sure = [], [], []
        for each in (image, partner):
            found = self(each)
            seen.append(rows(found.lifted))
            places.append(_keypoints(found.keypoints, (each.shape[2], each.shape[3])))
            sure.append(1 - found.keypoints.softmax(1)[:, -1].flatten(1) >= least)
        matched = []
        for n in range(len(image)):
            kept = [each[n].nonzero().flatten() for each in sure]
            if not len(kept[0]) or not len(kept[1]):
                none = image.new_empty(0, 2)
                matched.append(PictureMatches(none, none, image.new_empty(0)))
                continue
            found_here = correspond(seen[0][n, kept[0]], seen[1][n, kept[1]])
            mutual = found_here.mutual.nonzero().flatten()
            matched.append(
                PictureMatches(
                    places[0][n, kept[0][mutual]],
                    places[1][n, kept[1][found_here.rows[mutual]]],
                    found_here.scores[mutual],
                )
            )
        return matched

    def _see(self, image: Float[Tensor, "n 3 H W"]) -> Lifted:
        x = self.backbone(image.mean(1, keepdim=True))
        raw, normals = nn.functional.normalize(self.describe(x), dim=1), self.lie(x)
        return Lifted(raw, self.lift(raw, normals), normals, self.point(x))


def _matching_loss(
    one: Float[Tensor, "n d h w"], other: Float[Tensor, "n d h w"], maps: Float[Tensor, "n 3 3"]
) -> Float[Tensor, ""]:
    """Dual softmax of the cells that see the same; `other` is seen through the maps."""
    grid = one.new_tensor([one.shape[3], one.shape[2]])
    places = centres(other, (2, 2)) - 1
    cells = ((carry(maps, places) + 1) / 2 * grid).floor().long()
    n, j = ((cells >= 0) & (cells < grid)).all(2).nonzero().unbind(1)
    i = cells[n, j, 1] * one.shape[3] + cells[n, j, 0]
    scores = rows(one) @ rows(other).transpose(1, 2) / _TEMPERATURE
    sure = scores.log_softmax(1) + scores.log_softmax(2)
    return -sure[n, i, j].mean() if len(n) else sure.sum() * 0


def _corners(image: Float[Tensor, "n 3 H W"]) -> Tensor:
    """Place of each cell's strongest Harris corner, or 64 where it is below the picture's mean."""
    grey = nn.functional.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    right = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    down = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    products = torch.cat([right * right, down * down, right * down], 1)
    xx, yy, xy = nn.functional.avg_pool2d(products, 5, 1, 2, count_include_pad=False).unbind(1)
    strong = (xx * yy - xy.square() - 0.05 * (xx + yy).square())[:, None]
    best = nn.functional.pixel_unshuffle(strong, CELL).max(1)
    return torch.where(best.values > strong.mean((1, 2, 3))[:, None, None], best.indices, CELL**2)


def _keypoints(logits: Float[Tensor, "n 65 h w"], size: tuple[int, int]) -> Float[Tensor, "n t 2"]:
    """Most probable place in each cell, in pixels of the picture as it was given."""
    inside = logits[:, :-1].argmax(1).flatten(1)
    cell = torch.stack([inside % CELL, inside // CELL], 2).to(logits) + 0.5 - CELL / 2
    grid = logits.new_tensor([logits.shape[3], logits.shape[2]])
    scale = logits.new_tensor([size[1], size[0]]) / (grid * CELL)
    return centres(logits, size) + cell * scale


def _whole_cells(image: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 h w"]:
    size = [-(-side // _COARSEST) * _COARSEST for side in image.shape[2:]]
    if size == list(image.shape[2:]):
        return image
    return nn.functional.interpolate(image, size, mode="bilinear", align_corners=False)


def _require(
    image: Tensor, partner: Tensor, normals: Tensor | None, widths: tuple[int, ...]
) -> None:
    if len(image) == 0:
        raise LayerwiseError("there are no pictures; give at least one")
    for what, each in (("partners", partner), ("normals", normals)):
        if each is not None and each.shape != image.shape:
            raise LayerwiseError(
                f"pictures {list(image.shape)} and {what} {list(each.shape)}: give {what} of the "
                "same shape, pixel by pixel"
            )
    if any(width % 4 or width < 4 for width in widths[2:]):
        raise LayerwiseError(f"widths={widths}: give multiples of 4 from the third on")
    for each in (image, partner, *([] if normals is None else [normals])):
        require_finite(each, "pictures")
