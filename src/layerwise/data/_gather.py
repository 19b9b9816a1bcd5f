"""One pass over what may become samples: each is read once for its key, or set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from layerwise.data._keys import numbered
from layerwise.data._samples import SetAside, Unreadable
from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class Gathered:
    """What can be a sample, of all that was offered.

    Args:
        places: `n` places among what was offered.
        names: `n` names.
        items: `n` items for the loader.
        keys: `n` different keys.
        set_aside: the rest, with reasons.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    items: tuple[Any, ...]
    keys: tuple[str, ...]
    set_aside: tuple[SetAside, ...]


def gather(
    source: str,
    names: Sequence[str],
    values: Sequence[Any],
    entry: Callable[[Any], tuple[Any, str]],
) -> Gathered:
    """Make an item and a key of every value that can be read.

    Args:
        source: where they come from, for the message.
        names: names of the values.
        values: what is offered.
        entry: makes an item and a digest of its content, or raises `Unreadable`.

    Raises:
        LayerwiseError: nothing can be read.

    Example:
        >>> from layerwise.data._text import text_entry
        >>> gather("a list", ["1", "2"], ["one", ""], text_entry).set_aside
        (SetAside(name='2', reason='the text is empty'),)
    """
    places, items, digests, aside = [], [], [], []
    for place, value in enumerate(values):
        try:
            item, digest = entry(value)
        except Unreadable as reason:
            aside.append(SetAside(printable(names[place]), str(reason)))
            continue
        places.append(place)
        items.append(item)
        digests.append(digest)
    if not places:
        why = f"; {aside[0].name}: {aside[0].reason}" if aside else ""
        raise LayerwiseError(f"none of the {len(values)} samples of {source} can be read{why}")
    kept = tuple(printable(names[place]) for place in places)
    return Gathered(tuple(places), kept, tuple(items), numbered(digests), tuple(aside))


def printable(name: str) -> str:
    r"""A name that can be written anywhere: file names need not be UTF-8, tables must be.

    Example:
        >>> printable("caf\udce9.png")
        'caf?.png'
    """
    return name.encode("utf-8", "replace").decode()
