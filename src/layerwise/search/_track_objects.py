"""Tracking by features that are learned from the video itself (P149).

Around the last box a region is cut out, brought to a size at which the box is 32 pixels wide and
high, and read in patches of 6 x 6, made free of contrast and whitened. A patch is coded by what its
dot products with learned atoms exceed a threshold by, positive and negative parts apart; codes are
pooled by their maximum over 1, 2 x 2 and 4 x 4 cells of each window, and a linear function of the
pooled codes says which window is the object. After each frame the dictionary learns from the new
region, and the linear function from the object and what surrounds it.

The abstract names these parts and no numbers, so the numbers are ours, and so is this: the linear
function is ridge regression of a window's overlap with the object. It is fitted again each time, on
the pictures of the given frames and of the last few, coded by the dictionary of the day; codes of
an older dictionary mean something else. A frame joins only where its best window is at least half
as sure as the given box, so that what covers the object is not learned.
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
from layerwise.search._online_dictionary import OnlineDictionary, split_code

_SIDE, _PATCH, _STEP = 32, 6, 2
_ACROSS = (_SIDE - _PATCH) // _STEP + 1
"""Patches across a window."""
_CELLS = (1, 2, 4)


@final
@dataclass(frozen=True)
class Tracked:
    """Where objects are in each frame.

    Args:
        boxes: left, top, right and bottom in pixels.
        scores: about 1 where the object looks as it did when it was given, about 0 elsewhere.
    """

    boxes: Float[Tensor, "n k 4"]
    scores: Float[Tensor, "n k"]


@paper("Online Unsupervised Feature Learning for Visual Tracking", year=2013, no=(149,))
def track_objects(
    image: Float[Tensor, "n 3 H W"],
    masks: Float[Tensor, "m k _ _"],
    *,
    atoms: int = 50,
    online: bool = True,
    radius: float = 0.5,
    memory: int = 3,
    strength: float = 0.2,
    threshold: float = 0.25,
    ridge: float = 1.0,
    fade: float = 0.9,
    generator: Generator | None = None,
) -> Tracked:
    """Follow objects of fixed size through a video.

    Args:
        image: the frames in order.
        masks: of the first frames, for each object; their boxes are what is followed.
        atoms: of the dictionary.
        online: the dictionary goes on learning; without it, it stays as the given frames made it.
        radius: how far the box may move from one frame to the next, in its own widths and heights.
        memory: how many of the last frames are learned from besides the given ones.
        strength: of the lasso by which the dictionary is learned.
        threshold: of the codes.
        ridge: on the regression, in units of its mean eigenvalue.
        fade: what is left of the dictionary's sums after each frame.
        generator: for the dictionary's start.

    Raises:
        LayerwiseError: no frames, no masks or more than frames, an object without a place, values
            that are not finite, or options out of range.

    Example:
        >>> image = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
        >>> masks = torch.zeros(1, 1, 24, 40)
        >>> masks[:, :, 8:16, 8:16] = 1
        >>> tracked = track_objects(torch.cat([image, image.roll(2, 3)]), masks)
        >>> tracked.boxes[1, 0].tolist()
        [10.0, 8.0, 18.0, 16.0]
    """
    _require(image, masks)
    if atoms < 1 or memory < 0 or min(radius, strength, threshold, ridge, fade) <= 0 or fade > 1:
        raise LayerwiseError(
            f"atoms={atoms}, memory={memory}, radius={radius}, strength={strength}, "
            f"threshold={threshold}, ridge={ridge}, fade={fade}: give at least 1 atom, memory of "
            "at least 0, fade up to 1, and all others above 0"
        )
    grey = image.float().mean(1)
    size = (image.shape[2], image.shape[3])
    whole = nn.functional.interpolate(masks.float(), size, mode="nearest") > 0.5
    reach = max(1, round(radius * _SIDE / _STEP))
    boxes, scores = [], []
    for number in range(masks.shape[1]):
        given = torch.stack([_box(mask[number], number) for mask in whole])
        regions = [_region(*pair, reach) for pair in zip(grey, given, strict=False)]
        read = _Patches.fit(torch.stack(regions))
        drawn = generator or Generator().manual_seed(0)
        learned = OnlineDictionary.fit(
            torch.cat([read(region) for region in regions]),
            atoms=atoms,
            strength=strength,
            generator=drawn,
        )
        recent: list[Tensor] = []
        path, sure = list(given), [grey.new_ones(())] * len(given)
        fresh = True
        for frame in grey[len(given) :]:
            if fresh:
                coded = [
                    _windows(read(x), learned.atoms, reach, threshold) for x in (*regions, *recent)
                ]
                kept = _every_other(reach)
                weight, bias = _ridge(
                    [windows[kept] for windows in coded], _overlaps(reach)[kept].to(grey), ridge
                )
                home = float((coded[0] @ weight + bias)[len(coded[0]) // 2])
            box = path[-1]
            asked = _windows(read(_region(frame, box, reach)), learned.atoms, reach, threshold)
            found = asked @ weight + bias
            moved = box + _moves(reach).to(box) * (box[2:] - box[:2]).repeat(2)
            middle = (moved[:, :2] + moved[:, 2:]) / 2
            outside = ((middle < 0) | (middle > middle.new_tensor(size[::-1]))).any(1)
            best = found.masked_fill(outside, -torch.inf).max(0)
            path.append(moved[best.indices])
            sure.append(best.values / home)
            fresh = bool(sure[-1] > 0.5)
            if fresh and memory:
                region = _region(frame, path[-1], reach)
                recent = [*recent, region][-memory:]
                if online:
                    learned.update(read(region)[::3], fade=fade)
        boxes.append(torch.stack(path))
        scores.append(torch.stack(sure))
    return Tracked(torch.stack(boxes, 1).to(image), torch.stack(scores, 1).to(image))


@final
@dataclass(frozen=True)
class _Patches:
    """Reads patches of a region, without contrast, whitened."""

    mean: Float[Tensor, " p"]
    whiten: Float[Tensor, "p p"]

    @classmethod
    def fit(cls, regions: Float[Tensor, "n s s"]) -> _Patches:
        patches = torch.cat([_contrast_free(region) for region in regions])
        mean = patches.mean(0)
        values, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        scale = (values.clamp(min=0) + 0.1 * values.mean().clamp(min=1e-9)).rsqrt()
        return cls(mean, axes * scale @ axes.T)

    def __call__(self, region: Float[Tensor, "s s"]) -> Float[Tensor, "t p"]:
        """The patches row by row, of about length 1."""
        return (_contrast_free(region) - self.mean) @ self.whiten / _PATCH


def _contrast_free(region: Float[Tensor, "s s"]) -> Float[Tensor, "t p"]:
    patches = nn.functional.unfold(region[None, None], _PATCH, stride=_STEP)[0].T
    patches = patches - patches.mean(1, keepdim=True)
    return patches / (patches.square().mean(1, keepdim=True) + 1e-3).sqrt()


def _windows(
    patches: Float[Tensor, "t p"], atoms: Float[Tensor, "k p"], reach: int, threshold: float
) -> Float[Tensor, "w f"]:
    """Pooled codes, of length 1, of every window of a region, row by row."""
    side, moves = _ACROSS + 2 * reach, 2 * reach + 1
    codes = split_code(patches, atoms, threshold=threshold).T.unflatten(1, (side, side))
    pooled = []
    for cells in _CELLS:
        wide = _ACROSS // cells
        most = nn.functional.max_pool2d(codes[None], (wide, 1), stride=1)
        most = nn.functional.max_pool2d(most, (1, wide), stride=1)[0]
        starts = [round(i * (_ACROSS - wide) / max(1, cells - 1)) for i in range(cells)]
        pooled += [most[:, y : y + moves, x : x + moves] for y in starts for x in starts]
    return nn.functional.normalize(torch.cat(pooled).flatten(1).T, dim=1)


def _ridge(
    coded: list[Tensor], overlaps: Float[Tensor, " w"], ridge: float
) -> tuple[Float[Tensor, " f"], Float[Tensor, ""]]:
    """Weights and bias that give windows their overlaps; solved in the space of samples."""
    x, y = torch.cat(coded), overlaps.repeat(len(coded))
    mean, level = x.mean(0), y.mean()
    gram = (x - mean) @ (x - mean).T
    gram.diagonal().add_(ridge * gram.trace().clamp(min=1e-9) / len(x))
    weight = (x - mean).T @ torch.linalg.solve(gram, y - level)
    return weight, level - mean @ weight


def _moves(reach: int) -> Float[Tensor, "w 4"]:
    """Where windows lie, in widths and heights of the box: right, down, and the same again."""
    steps = torch.arange(-reach, reach + 1) * _STEP / _SIDE
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([right, down], 2).flatten(0, 1).repeat(1, 2)


def _every_other(reach: int) -> Tensor:
    """Windows in every other row and column, the middle one among them."""
    taken = (torch.arange(2 * reach + 1) - reach) % 2 == 0
    return (taken[:, None] & taken).flatten()


def _overlaps(reach: int) -> Float[Tensor, " w"]:
    """Intersection over union of each window with the middle one."""
    shared = (1 - _moves(reach)[:, :2].abs()).clamp(min=0).prod(1)
    return shared / (2 - shared)


def _region(frame: Float[Tensor, "h w"], box: Float[Tensor, " 4"], reach: int) -> Tensor:
    """The box and what is within reach, at the size at which the box has `_SIDE` pixels."""
    side = _SIDE + 2 * reach * _STEP
    line = (torch.arange(side).to(frame) + 0.5 - side / 2) / _SIDE
    right = (box[0] + box[2]) / 2 + line * (box[2] - box[0])
    down = (box[1] + box[3]) / 2 + line * (box[3] - box[1])
    places = torch.stack(torch.meshgrid(right, down, indexing="xy"), 2)
    places = places * 2 / places.new_tensor([frame.shape[1], frame.shape[0]]) - 1
    return nn.functional.grid_sample(
        frame[None, None], places[None], padding_mode="border", align_corners=False
    )[0, 0]


def _box(mask: Tensor, number: int) -> Float[Tensor, " 4"]:
    down, right = mask.nonzero().unbind(1)
    if len(down) == 0:
        raise LayerwiseError(f"object {number} has no place in its mask; give each object some")
    edges = [right.min(), down.min(), right.max() + 1, down.max() + 1]
    return torch.stack(edges).float()


def _require(image: Tensor, masks: Tensor) -> None:
    if not 1 <= len(masks) <= len(image) or masks.shape[1] == 0:
        raise LayerwiseError(
            f"{len(masks)} masks of {masks.shape[1]} objects for {len(image)} frames; give those "
            "of the first frames, of at least one object"
        )
    require_finite(image, "frames")
    require_finite(masks, "masks")
