"""Writes the page, smaller where it would grow too large."""

from __future__ import annotations

from pathlib import Path

from layerwise.atlas import Atlas
from layerwise.atlas._files import write_whole
from layerwise.report._fit import lighter
from layerwise.report._page import page

LIMIT = 10_000_000
"""Bytes that a page must stay below."""


def write(atlas: Atlas, folder: str | Path) -> Path:
    """Write `index.html`: one page that opens offline and holds all that it shows.

    A page that would grow to 10 MB leaves things out and says so: first what the layers see, then
    readouts that are not the best of their layer, and so on.

    Args:
        atlas: what to show.
        folder: where to; it is made if it is not there.

    Returns:
        The path of `index.html`.

    Raises:
        LayerwiseError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from layerwise.atlas._atlas import Provenance
        >>> made = Provenance("layerwise atlas", "today", {}, {}, (0,), "photos", "", 0, {}, {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(Atlas(1, made, *[()] * 13), folder)
        ...     path.read_text()[:15]
        '<!doctype html>'
    """
    for atlas_that_fits, left_out in lighter(atlas):
        # File names need not be UTF-8; a page has to be.
        content = page(atlas_that_fits, left_out).encode("utf-8", "replace")
        if len(content) < LIMIT:
            break
    path = Path(folder) / "index.html"
    write_whole(path, content)
    return path
