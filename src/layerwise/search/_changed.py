"""Changed copies of samples: what a search without labels has to find its way back from.

A picture is cropped, mirrored by chance, and lit and coloured otherwise; of a text the query is the
first half of its words and the item the second. A sample's change is made from its place and the
seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from layerwise.data import Samples, Unreadable
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image

_FEWEST_WORDS = 6


@final
@dataclass(frozen=True)
class _Picture:
    load: Callable[[Any], Any]
    seed: int

    def __call__(self, item: tuple[int, Any]) -> Image.Image:
        return changed_picture(self.load(item[1]), random.Random(f"{self.seed} {item[0]}"))


@final
@dataclass(frozen=True)
class _Half:
    load: Callable[[Any], Any]
    second: bool

    def __call__(self, item: tuple[int, Any]) -> str:
        words = str(self.load(item[1])).split()
        if len(words) < _FEWEST_WORDS:
            raise Unreadable(f"{len(words)} words are too few to be cut in two")
        middle = len(words) // 2
        return " ".join(words[middle:] if self.second else words[:middle])


def changed(samples: Samples, *, seed: int = 0) -> tuple[Samples, Samples]:
    """Queries and the items they have to find, in the same order.

    Args:
        samples: pictures or texts.
        seed: of the changes.

    Raises:
        LayerwiseError: the samples are neither pictures nor texts.

    Example:
        >>> from layerwise.data import open
        >>> asked, items = changed(open(["one two three four five six"]))
        >>> asked.load(0), items.load(0)
        ('one two three', 'four five six')
    """
    if samples.modality == "tensor":
        raise LayerwiseError(
            f"without labels nobody can say which rows of {samples.source!r} belong together; "
            "name a target of classes, or the layers"
        )
    numbered = tuple(enumerate(samples.items))

    def made(loader: Callable[[Any], Any], word: str) -> Samples:
        keys = tuple(f"{key}~{word}{seed}" for key in samples.keys)
        return replace(samples, items=numbered, keys=keys, loader=loader, targets={}, split=None)

    if samples.modality == "image":
        return made(_Picture(samples.loader, seed), "changed"), replace(samples, targets={})
    halves = (_Half(samples.loader, second) for second in (False, True))
    return made(next(halves), "first"), made(next(halves), "second")


def changed_picture(picture: Image.Image, generator: random.Random) -> Image.Image:
    """A crop of 40 to 80 % of the area, mirrored by chance, in other light and colour."""
    from PIL import ImageEnhance, ImageOps

    part = generator.uniform(0.4, 0.8) ** 0.5
    width, height = (max(1, round(part * side)) for side in picture.size)
    left = generator.randint(0, picture.width - width)
    upper = generator.randint(0, picture.height - height)
    picture = picture.crop((left, upper, left + width, upper + height))
    picture = ImageOps.mirror(picture) if generator.random() < 0.5 else picture
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(generator.uniform(0.6, 1.4))
    return picture
