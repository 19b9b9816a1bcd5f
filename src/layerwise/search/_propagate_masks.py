"""Objects of a video's first frames, followed through it by the affinity of frozen features (P267).

Every place of a frame asks the places of a memory for their masks: the first frames, whose masks
are given, and the last few, with the masks they were given here. The answer is their mean, weighted
by a softmax of cosines over `temperature`, of which only the `top` largest count. Near frames are
asked only around the same place. The answer is one map per object, from 0 to 1; the largest, or the
background where all are small, is the object.

The paper reads a diffusion model at the best layer and noise; any layer serves here, so the best
one can be measured. Its filter by magnitude is our reading of a name that the abstract leaves
unexplained: memory places whose features are short, below the quantile `quiet`, are not asked.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@paper(
    "Studying Image Diffusion Features for Zero-Shot Video Object Segmentation",
    year=2025,
    arxiv="2504.05468",
    no=(267,),
)
def propagate_masks(
    feature_map: Float[Tensor, "n c h w"],
    masks: Float[Tensor, "m k _ _"],
    *,
    memory: int = 7,
    radius: float | None = 12.0,
    top: int | None = 10,
    temperature: float = 0.1,
    quiet: float = 0.0,
) -> Float[Tensor, "n k h w"]:
    """Follow objects through the frames of a video.

    Args:
        feature_map: the frames in order, as `dense` reads them.
        masks: of the first frames, for each object; of any size, brought to the map's.
        memory: how many of the last frames are asked besides the first ones.
        radius: cells around the same place that are asked in the last frames; all without it.
        top: places of the memory that count; all without it.
        temperature: divides the cosines.
        quiet: part of the memory's places, those of the shortest features, that is not asked.

    Returns:
        Masks of all frames; `objects` names the places.

    Raises:
        LayerwiseError: no frames, no masks or more than frames, values that are not finite, or
            options out of range.

    Example:
        >>> frames = torch.eye(4).view(1, 4, 2, 2).repeat(3, 1, 1, 1)
        >>> masks = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> propagate_masks(frames, masks)[2].round().tolist()
        [[[1.0, 0.0], [0.0, 0.0]]]
    """
    _require(feature_map, masks)
    if memory < 0 or (top is not None and top < 1) or temperature <= 0 or not 0 <= quiet < 1:
        raise LayerwiseError(
            f"memory={memory}, top={top}, temperature={temperature}, quiet={quiet}: give memory of "
            "at least 0, top of at least 1, a positive temperature and quiet from 0 to below 1"
        )
    size = feature_map.shape[2:]
    first = nn.functional.interpolate(masks.to(feature_map), size, mode="area")
    known = list(first.flatten(2))
    lengths = feature_map.norm(dim=1).flatten(1)
    unit = nn.functional.normalize(feature_map, dim=1).flatten(2).transpose(1, 2)
    near = None if radius is None else _near(size, radius, feature_map)
    given = len(known)
    for now in range(given, len(unit)):
        recent = range(max(given, now - memory), now)
        asked = [*range(given), *recent]
        cosines = torch.cat([unit[now] @ unit[frame].T for frame in asked], 1) / temperature
        allowed = torch.ones_like(cosines, dtype=torch.bool)
        if near is not None and recent:
            allowed = torch.cat([allowed[:, : given * len(near)], near.repeat(1, len(recent))], 1)
        if quiet > 0:
            heard = lengths[asked].flatten()
            allowed = allowed & (heard >= heard.quantile(quiet))
        weights = _affinity(cosines.masked_fill(~allowed, -torch.inf), top)
        known.append((weights @ torch.cat([known[frame] for frame in asked], 1).T).T)
    return torch.stack(known).unflatten(2, tuple(size))


def objects(masks: Float[Tensor, "n k h w"], *, least: float = 0.5) -> Int[Tensor, "n h w"]:
    """Number of the object at each place, counted from 1; 0 where no mask reaches `least`.

    Example:
        >>> objects(torch.tensor([0.2, 0.9]).view(1, 2, 1, 1)).item()
        2
    """
    strongest = masks.max(1)
    return torch.where(strongest.values >= least, strongest.indices + 1, 0)


def _affinity(logits: Float[Tensor, "t m"], top: int | None) -> Float[Tensor, "t m"]:
    if top is None or top >= logits.shape[1]:
        return logits.softmax(1)
    best = logits.topk(top, dim=1)
    return torch.zeros_like(logits).scatter(1, best.indices, best.values.softmax(1))


def _near(size: torch.Size, radius: float, like: Tensor) -> Bool[Tensor, "t t"]:
    down, right = torch.meshgrid(*(torch.arange(side).to(like) for side in size), indexing="ij")
    places = torch.stack([down, right], 2).flatten(0, 1)
    return torch.cdist(places, places) <= radius


def _require(feature_map: Tensor, masks: Tensor) -> None:
    if not 1 <= len(masks) <= len(feature_map) or masks.shape[1] == 0:
        raise LayerwiseError(
            f"{len(masks)} masks of {masks.shape[1]} objects for {len(feature_map)} frames; give "
            "those of the first frames, of at least one object"
        )
    require_finite(feature_map, "frames")
    require_finite(masks, "masks")
