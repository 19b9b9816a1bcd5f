"""Questions to an index: by a sample, a part of a picture, several scales of it, or what was found.

A picture asked for at several scales is searched by its whole, its middle three quarters and its
middle half; an item counts by the best of the three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.search._expand import expand
from layerwise.search._index import Index
from layerwise.search._memory import Hit

if TYPE_CHECKING:
    from PIL import Image

Region = tuple[float, float, float, float]
"""Left, top, right and bottom, as parts of the picture from 0 to 1."""

SCALES = (1.0, 0.75, 0.5)
"""Parts of a picture's sides that a search at several scales looks at."""


@final
@dataclass(frozen=True)
class _Cut:
    loader: Any
    region: Region

    def __call__(self, item: Any) -> Image.Image:
        picture = self.loader(item)
        left, top, right, bottom = self.region
        return picture.crop(
            (
                int(left * picture.width),
                int(top * picture.height),
                max(int(left * picture.width) + 1, round(right * picture.width)),
                max(int(top * picture.height) + 1, round(bottom * picture.height)),
            )
        )


def cut(samples: Samples, region: Region) -> Samples:
    """A region of each picture.

    Args:
        samples: pictures.
        region: left, top, right and bottom, as parts of the picture.

    Raises:
        LayerwiseError: the samples are no pictures, or the region has no area.

    Example:
        >>> from PIL import Image
        >>> from layerwise.data import open
        >>> cut(open([Image.new("RGB", (8, 4))]), (0.5, 0.0, 1.0, 1.0)).load(0).size
        (4, 4)
    """
    if samples.modality != "image":
        raise LayerwiseError(f"a region is a part of a picture, and {samples.source} holds none")
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise LayerwiseError(
            f"region {region}: give left, top, right and bottom from 0 to 1, as in 0.25,0,0.75,1"
        )
    keys = tuple(f"{key}~{region}" for key in samples.keys)
    return replace(samples, loader=_Cut(samples.loader, region), keys=keys)


def scales(samples: Samples) -> tuple[Samples, ...]:
    """Each picture at several scales: its middle, larger and larger. Errors as those of `cut`."""
    edges = [(1 - part) / 2 for part in SCALES]
    return tuple(cut(samples, (edge, edge, 1 - edge, 1 - edge)) for edge in edges)


def ask(
    index: Index,
    views: Float[Tensor, "v m d"],
    *,
    count: int = 10,
    first: int = 0,
    joined: int = 0,
) -> tuple[tuple[Hit, ...], ...]:
    """Find the items nearest to any view of each query.

    Args:
        index: what is searched.
        views: vectors of the queries, once for each of their views.
        count: how many items for each.
        first: how many of the best are reranked; 0 for none.
        joined: how many of the first finds each query is joined with before it asks again.

    Raises:
        LayerwiseError: as those of `Index.search`.
    """
    found = []
    for queries in views:
        asked = queries
        if joined:
            near = index.search(queries, count=min(joined, len(index)))
            rows = [index.vectors([hit.key for hit in hits]) for hits in near]
            pairs = zip(queries, rows, strict=True)
            asked = torch.cat([expand(query[None], each, count=joined) for query, each in pairs])
        found.append(index.search(asked, count=count, first=first))
    return tuple(_best(each, count) for each in zip(*found, strict=True))


def _best(answers: Sequence[Sequence[Hit]], count: int) -> tuple[Hit, ...]:
    best: dict[str, Hit] = {}
    for hit in (hit for hits in answers for hit in hits):
        if hit.key not in best or hit.score > best[hit.key].score:
            best[hit.key] = hit
    return tuple(sorted(best.values(), key=lambda hit: -hit.score)[:count])
