"""A folder (or zip) of pictures: classes from folders, splits from `train`, `val` and `test`."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from layerwise.data._columns import class_target, pick
from layerwise.data._gather import gather
from layerwise.data._image import MAX_PIXELS, SUFFIXES, decode
from layerwise.data._keys import digest
from layerwise.data._places import Place
from layerwise.data._samples import Samples, SetAside, Unreadable
from layerwise.data._subset import subset
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Words for the sides of a split, in lower case."""


@final
@dataclass(frozen=True)
class ImageLoader:
    """Reads and decodes a picture by its name in a place.

    Args:
        place: folder or zip.
        max_pixels: pictures with more pixels are set aside.
    """

    place: Place
    max_pixels: int = MAX_PIXELS

    def __call__(self, item: str) -> Image.Image:
        """Read one picture as RGB."""
        return decode(self.place.read(item), max_pixels=self.max_pixels)


@final
@dataclass(frozen=True)
class Found:
    """A picture in a folder tree and what its place there says.

    Args:
        name: relative name.
        label: name of its class, or None.
        side: side of the split, or None.
    """

    name: str
    label: str | None
    side: str | None


def open_pictures(
    place: Place,
    source: str,
    *,
    targets: Sequence[str] | None,
    limit: int | None,
    seed: int,
    max_pixels: int,
) -> Samples:
    """Open the pictures in a place; see `layerwise.data.open`."""
    names = place.files()
    pictures = [name for name in names if is_picture(name)]
    if not pictures:
        raise LayerwiseError(f"{source} holds no pictures: {_holds(names)}")
    others = [SetAside(n, "not a picture by its suffix") for n in names if not is_picture(n)]
    found, strays = read_tree(pictures)
    chosen = [found[i] for i in subset([(each.side, each.label) for each in found], limit, seed)]
    files = [each.name for each in chosen]
    kept = gather(source, files, files, lambda name: (name, content_digest(place, name)))
    target = class_target("class", [chosen[i].label for i in kept.places])
    return Samples(
        modality="image",
        source=source,
        names=kept.names,
        keys=kept.keys,
        items=kept.items,
        loader=ImageLoader(place, max_pixels),
        targets=pick({"class": target} if target.classes else {}, targets),
        split=tuple(str(chosen[i].side) for i in kept.places) if chosen[0].side else None,
        set_aside=(*others, *strays, *kept.set_aside),
    )


def read_tree(pictures: Sequence[str]) -> tuple[list[Found], list[SetAside]]:
    """Find classes and splits in relative names.

    Folders that hold all the rest are seen through. Where the top folders have names of splits,
    for training and for something held out, they are the split, and the folders below are the
    classes; otherwise the top folders are the classes. One folder alone makes no classes.

    Example:
        >>> found, _ = read_tree(["set/train/cat/1.jpg", "set/test/dog/2.jpg"])
        >>> [(each.label, each.side) for each in found]
        [('cat', 'train'), ('dog', 'test')]
    """
    parts = {name: name.split("/") for name in pictures}
    depth = _enclosing(list(parts.values()))
    tops = {p[depth] for p in parts.values() if len(p) > depth + 1}
    sides = {SPLIT_WORDS.get(top.lower()) for top in tops} - {None}
    if not ("train" in sides and len(sides) > 1):
        return [
            Found(n, p[depth] if len(p) > depth + 1 else None, None) for n, p in parts.items()
        ], []
    found, strays = [], []
    for name, part in parts.items():
        side = SPLIT_WORDS.get(part[depth].lower()) if len(part) > depth + 1 else None
        if side is None:
            strays.append(SetAside(name, f"outside the folders {', '.join(sorted(tops))}"))
        else:
            label = part[depth + 1] if len(part) > depth + 2 else None
            found.append(Found(name, label, side))
    return found, strays


def _enclosing(parts: Sequence[Sequence[str]]) -> int:
    """How many leading folders are the same for all files."""
    depth = 0
    while all(len(p) > depth + 1 for p in parts) and len({p[depth] for p in parts}) == 1:
        depth += 1
    return depth


def content_digest(place: Place, name: str) -> str:
    """Hash a file's bytes; an empty one is unreadable."""
    data = place.read(name)
    if not data:
        raise Unreadable("the file is empty (0 bytes)")
    return digest(data)


def is_picture(name: str) -> bool:
    """Whether a file's suffix is that of a picture."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES


def _holds(names: Sequence[str]) -> str:
    kinds = Counter(posixpath.splitext(name)[1].lower() or "no suffix" for name in names)
    if not kinds:
        return "it is empty"
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(4))
    return f"it holds {told}; give a folder of pictures, or open one of the files"
