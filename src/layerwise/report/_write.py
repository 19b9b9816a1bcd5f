"""Writes the page, and leaves things out of it, with a note, where it would grow too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from layerwise.atlas._atlas import Atlas, Score
from layerwise.atlas._files import write_whole
from layerwise.report._page import page

LIMIT = 10_000_000
"""Bytes that a page may have."""


def write(atlas: Atlas, folder: str | Path) -> Path:
    """Write `index.html`: one page that opens offline and holds all that it shows.

    Where it would grow to 10 MB or more, it leaves things out and says so: first half of the layer
    pictures, then all of them, the readouts that are not the best of their layer, and the pictures
    of the samples.

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
    for lighter, left_out in _lighter(atlas):
        # File names need not be UTF-8; a page has to be.
        content = page(lighter, left_out).encode("utf-8", "replace")
        if len(content) < LIMIT:
            break
    path = Path(folder) / "index.html"
    write_whole(path, content)
    return path


def _lighter(atlas: Atlas) -> Iterator[tuple[Atlas, list[str]]]:
    """The atlas with less and less in it, and what is missing in sentences."""
    yield atlas, []
    rest = "are left out to keep this page under 10 MB; atlas.json has them."
    kept = {row.layer for row in atlas.layers[::2]}
    half = tuple(picture for picture in atlas.pictures if picture.layer in kept)
    yield replace(atlas, pictures=half), [f"The pictures of every second layer {rest}"]
    atlas, left_out = replace(atlas, pictures=()), [f"The pictures of what the layers see {rest}"]
    yield atlas, left_out
    atlas = replace(atlas, scores=_best(atlas.scores))
    left_out = [*left_out, f"Readouts that are not the best of their layer {rest}"]
    yield atlas, left_out
    atlas = replace(atlas, shown=tuple(replace(each, picture="") for each in atlas.shown))
    left_out = [*left_out, f"The pictures of the samples {rest}"]
    yield atlas, left_out


def _best(scores: tuple[Score, ...]) -> tuple[Score, ...]:
    best: dict[tuple[str, str, str], Score] = {}
    for score in scores:
        key = (score.target, score.network, score.layer)
        if key not in best or score.validation > best[key].validation:
            best[key] = score
    return tuple(best.values())
