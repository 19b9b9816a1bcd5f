"""A page of pictures or texts in rows: what was found, grouped or judged, in the report's style.

The page is one file without a script. Pictures stand in it as small JPEGs; where there are very
many, the last ones give way to their names.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from layerwise.report._render import render

SIDE = 176
"""Pixels of a thumbnail's longer side."""

_ROOM = 8_000_000
"""Bytes that all pictures of a page may take."""

_EXCERPT, _WIDE = 240, 1160


@final
@dataclass(frozen=True)
class Figure:
    """A sample on the page.

    Args:
        name: what people call it.
        sample: a picture, a text, or None where it cannot be shown.
        note: a score and the like, in bold.
        words: what else is to be said of it.
    """

    name: str
    sample: Any
    note: str = ""
    words: str = ""

    @property
    def text(self) -> str:
        """The beginning of a text; empty for all else."""
        if not isinstance(self.sample, str):
            return ""
        text = " ".join(self.sample.split())
        return text if len(text) <= _EXCERPT else text[:_EXCERPT] + " …"


@final
@dataclass(frozen=True)
class Row:
    """A line of samples under a heading.

    Args:
        title: the heading.
        words: what is to be said of the line.
        lead: the sample that all others belong to, if there is one.
        figures: the others.
    """

    title: str
    words: str
    lead: Figure | None
    figures: Sequence[Figure]


def write_gallery(
    path: str | Path,
    *,
    title: str,
    lead: str,
    rows: Sequence[Row],
    facts: Sequence[tuple[str, str]] = (),
    wide: bool = False,
) -> Path:
    """Write a page of samples in rows; the folder is made if it is not there.

    Args:
        path: the file.
        title: heading of the page.
        lead: the sentence below it.
        rows: the samples.
        facts: how it was made, as names and words.
        wide: whether pictures are shown at their own size.

    Raises:
        LayerwiseError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     row = Row("1", "", None, [Figure("wren.jpg", None, "0.93")])
        ...     page = write_gallery(f"{folder}/a.html", title="Found", lead="One.", rows=[row])
        ...     "wren.jpg" in page.read_text()
        True
    """
    from layerwise.atlas._files import write_whole

    values = {
        "title": title,
        "lead": lead,
        "rows": rows,
        "facts": facts,
        "wide": wide,
        "thumbnail": _Thumbnails(_WIDE if wide else SIDE),
    }
    text = render("gallery.html.j2", values, styles=("style.css", "gallery.css"))
    write_whole(Path(path), text.encode("utf-8", "replace"))
    return Path(path)


@final
class _Thumbnails:
    """Makes pictures small until the page is full."""

    def __init__(self, side: int) -> None:
        self.side, self.left = side, _ROOM

    def __call__(self, figure: Figure) -> str:
        from PIL import Image

        if not isinstance(figure.sample, Image.Image) or self.left < 0:
            return ""
        picture = figure.sample.convert("RGB")
        picture.thumbnail((self.side, self.side))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        self.left -= len(buffer.getvalue())
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
