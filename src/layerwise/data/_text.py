"""Texts: when one is fit to be a sample, and files with a text on every line.

What is not UTF-8 is set aside and not mended: a text with a replaced character is another text, and
a file in another encoding should be noticed. One enormous line is a sample like any other, up to a
limit; the network's preparation truncates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from layerwise.data._columns import pick
from layerwise.data._gather import gather
from layerwise.data._keys import text_digest
from layerwise.data._samples import Samples, Unreadable
from layerwise.data._subset import subset
from layerwise.data._table_files import broken_utf8, read_utf8
from layerwise.errors import LayerwiseError

MAX_CHARACTERS = 10_000_000
"""Longer texts are set aside: no tokenizer gets through them in reasonable time."""


@final
@dataclass(frozen=True)
class AsGiven:
    """Loads an item that is the sample itself."""

    def __call__(self, item: Any) -> Any:
        """The item."""
        return item


def checked_text(text: object) -> str:
    """A text that is fit to be a sample.

    Raises:
        Unreadable: it is no text, is empty, too long, or not UTF-8.

    Example:
        >>> checked_text("a line")
        'a line'
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        raise Unreadable("the text is empty")
    if not isinstance(text, str):
        raise Unreadable(f"{str(text)[:40]!r} is a {type(text).__name__} and no text")
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(
            f"{len(text) / 1e6:.1f} million characters, above the limit of {MAX_CHARACTERS / 1e6:g}"
        )
    if reason := broken_utf8(text):
        raise Unreadable(reason)
    return text


def text_entry(text: object) -> tuple[str, str]:
    """A text as its own item, with the digest of its content."""
    checked = checked_text(text)
    return checked, text_digest(checked)


def open_lines(
    path: Path, source: str, *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open a text file with one sample per line; see `layerwise.data.open`."""
    whole = read_utf8(path)
    if not whole:
        raise LayerwiseError(f"the file {source} is empty; give one with a text on each line")
    lines = whole.removesuffix("\n").split("\n")
    rows = subset([None] * len(lines), limit, seed)
    names = [f"line {row + 1}" for row in rows]
    found = gather(source, names, [lines[row].removesuffix("\r") for row in rows], text_entry)
    return Samples(
        modality="text",
        source=source,
        names=found.names,
        keys=found.keys,
        items=found.items,
        loader=AsGiven(),
        targets=pick({}, targets),
        set_aside=found.set_aside,
    )
