"""The samples behind what was found: read again from where they came from.

An item of a folder of pictures is read by its path. Of other sources the data are opened once and
the item is looked up by its key. What is no longer there, or is no longer what was indexed, is said
and never replaced by something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from layerwise import data
from layerwise.data import Samples, Unreadable
from layerwise.data._folder import ImageLoader, content_digest
from layerwise.data._keys import content
from layerwise.data._places import Folder
from layerwise.errors import LayerwiseError
from layerwise.search._memory import Hit


@final
class Behind:
    """Reads the samples behind hits.

    Example:
        >>> try:
        ...     Behind().load(Hit("k", "wren.jpg", "/nowhere", 0.9))
        ... except Unreadable as reason:
        ...     print(reason)
        its source /nowhere is gone
    """

    def __init__(self) -> None:
        self._opened: dict[str, Samples | None] = {}

    def load(self, hit: Hit) -> Any:
        """Read the sample: a picture, a text or a tensor.

        Raises:
            Unreadable: with the reason.
        """
        folder = Path(hit.source)
        if hit.source and folder.is_dir():
            if not (folder / hit.name).is_file():
                raise Unreadable("the file is gone")
            place = Folder(str(folder))
            if content_digest(place, hit.name) != content(hit.key):
                raise Unreadable("the file has changed since it was indexed")
            return ImageLoader(place)(hit.name)
        samples = self._samples(hit.source)
        if samples is None:
            raise Unreadable(f"its source {hit.source or 'was not told and'} is gone")
        if hit.key not in samples.keys:
            raise Unreadable(f"it is no longer in {hit.source}")
        return samples.load(samples.keys.index(hit.key))

    def _samples(self, source: str) -> Samples | None:
        if source not in self._opened:
            try:
                self._opened[source] = data.open(source)
            except LayerwiseError:
                self._opened[source] = None
        return self._opened[source]
