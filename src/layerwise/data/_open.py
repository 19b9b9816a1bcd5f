"""The one door to data: says what a source is by looking at it, and opens it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from layerwise.data._arrays import open_tensor
from layerwise.data._folder import open_pictures
from layerwise.data._image import MAX_PIXELS
from layerwise.data._photos import open_photos
from layerwise.data._places import Archive, Folder
from layerwise.data._samples import Samples
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    import numpy as np


def open(  # noqa: A001 - the word users expect, always written as layerwise.data.open
    source: str | Path | Tensor | np.ndarray[Any, Any] | Iterable[Any],
    *,
    targets: Sequence[str] | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Samples:
    """Open samples."""
    if isinstance(source, Tensor):
        return open_tensor(source, "the tensor", targets=targets, limit=limit, seed=seed)
    if source == "photos":
        return open_photos(targets=targets, limit=limit, seed=seed)
    path = Path(str(source))
    if path.is_dir():
        place = Folder(str(path.resolve()))
        return open_pictures(
            place, str(source), targets=targets, limit=limit, seed=seed, max_pixels=max_pixels
        )
    if path.is_file() and path.suffix.lower() == ".zip":
        archive = Archive(str(path.resolve()))
        return open_pictures(
            archive, str(source), targets=targets, limit=limit, seed=seed, max_pixels=max_pixels
        )
    raise LayerwiseError(f"no file or folder at {source}")
