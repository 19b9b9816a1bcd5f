"""`photos`: crops of the photographs inside scikit-image and scikit-learn, changed in known ways.

Nothing is downloaded. Every sample is a recipe: a box in a photograph, how far it is turned,
blurred and brightened, and a jitter of colour that is no target. The targets differ in nature, so
that they are read best at different depths, and each is tested on what was never trained on:

- `photo`, which photograph it is: tested on regions that share no pixel with a training crop;
- `blur` (the standard deviation in pixels, five levels) and `brightness` (a factor, a number):
  tested on other photographs;
- `rotation` (degrees): tested on other faces.

The first three are known for crops of eighteen photographs, the last for a hundred small faces:
from crops of so few photographs no layer learns which way is up (measured: all at chance).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from layerwise.data._columns import class_target, number_target, pick
from layerwise.data._keys import digest, numbered
from layerwise.data._photographs import (
    FACES,
    PHOTOGRAPHS,
    Photograph,
    path_of,
    pixels_of,
    regions_of,
)
from layerwise.data._samples import Samples, Target
from layerwise.data._subset import subset

if TYPE_CHECKING:
    from PIL import Image

SIDE = 192
"""Pixels of a sample in each direction."""

_PER_PHOTOGRAPH = 48
_BLURS = (0.0, 0.8, 1.5, 2.5, 4.0)
_TURNS = (0, 90, 180, 270)
_SMALLEST_BOX = 112


@final
@dataclass(frozen=True)
class Recipe:
    """How one sample is made: cut, resize, turn, change colour and light, blur.

    Args:
        photo: name of the photograph.
        box: left, upper, right and lower edge in its pixels.
        turn: degrees counter-clockwise, a multiple of 90.
        blur: standard deviation of the Gaussian, in pixels of the sample.
        brightness: factor on the light.
        saturation: factor on the colourfulness.
        tint: factors on red, green and blue.
    """

    photo: str
    box: tuple[int, int, int, int]
    turn: int
    blur: float
    brightness: float
    saturation: float
    tint: tuple[float, float, float]


@final
@dataclass(frozen=True)
class PhotoLoader:
    """Makes the picture of a recipe; the photographs are kept in memory once read."""

    def __call__(self, item: Recipe) -> Image.Image:
        """Make one picture `SIDE` x `SIDE`."""
        from PIL import Image, ImageEnhance, ImageFilter

        size = (SIDE, SIDE)
        cut = pixels_of(item.photo).resize(size, Image.Resampling.BICUBIC, box=item.box)
        picture = ImageEnhance.Color(cut.rotate(item.turn)).enhance(item.saturation)
        bands = zip(picture.split(), item.tint, strict=True)
        gain = item.brightness
        lit = [band.point([min(255, round(v * gain * t)) for v in range(256)]) for band, t in bands]
        picture = Image.merge("RGB", lit)
        return picture.filter(ImageFilter.GaussianBlur(item.blur)) if item.blur else picture


def open_photos(
    *, targets: Sequence[str] | None = None, limit: int | None = None, seed: int = 0
) -> Samples:
    """Open the built-in photographs; see the module for what they are."""
    generator = random.Random(0)
    everything = [made for each in PHOTOGRAPHS for made in _crops(each, generator)]
    everything += _turned_faces(generator)
    rows = subset([(recipe.photo, recipe.blur) for recipe, _ in everything], limit, seed)
    recipes = [everything[row][0] for row in rows]
    regions = [everything[row][1] for row in rows]
    faces = [recipe.photo == FACES.name for recipe in recipes]
    made = (*_of_crops(recipes, regions, faces), _of_faces(recipes, regions, faces))
    files = {p.name: digest(path_of(p).read_bytes()).encode() for p in (*PHOTOGRAPHS, FACES)}
    return Samples(
        modality="image",
        source="photos",
        names=tuple(f"{region}, no. {row}" for row, region in zip(rows, regions, strict=True)),
        keys=numbered(digest(files[r.photo], repr((SIDE, r)).encode()) for r in recipes),
        items=tuple(recipes),
        loader=PhotoLoader(),
        targets=pick({target.name: target for target in made}, targets),
    )


def _of_crops(
    recipes: Sequence[Recipe], regions: Sequence[str], faces: Sequence[bool]
) -> tuple[Target, Target, Target]:
    """The targets that are known for crops of photographs."""
    crops = [None if face else recipe for recipe, face in zip(recipes, faces, strict=True)]
    photos = [recipe.photo for recipe in recipes]
    return (
        class_target("photo", [crop and crop.photo for crop in crops]).grouped(regions),
        class_target("blur", [crop and crop.blur for crop in crops]).grouped(photos),
        number_target("brightness", [crop and crop.brightness for crop in crops]).grouped(photos),
    )


def _of_faces(recipes: Sequence[Recipe], regions: Sequence[str], faces: Sequence[bool]) -> Target:
    """The target that is known for faces."""
    turns = [r.turn if face else None for r, face in zip(recipes, faces, strict=True)]
    return class_target("rotation", turns).grouped(regions)


def _crops(photograph: Photograph, generator: random.Random) -> list[tuple[Recipe, str]]:
    """Recipes of one photograph and their regions: all changes equally often, everywhere."""
    cells = regions_of(photograph)
    changes = [(blur, turn) for blur in _BLURS for turn in _TURNS]
    made = []
    for i in range(_PER_PHOTOGRAPH):
        if i % len(changes) == 0:
            generator.shuffle(changes)
        blur, turn = changes[i % len(changes)]
        cell = i % len(cells)
        recipe = _recipe(photograph, cells[cell], turn, blur, generator)
        made.append((recipe, f"{photograph.name}, region {cell + 1}"))
    return made


def _turned_faces(generator: random.Random) -> list[tuple[Recipe, str]]:
    """Recipes of the faces, each turned in every direction."""
    return [
        (_recipe(FACES, cell, turn, 0.0, generator), f"face {i + 1}")
        for i, cell in enumerate(regions_of(FACES))
        for turn in _TURNS
    ]


def _recipe(
    photograph: Photograph,
    cell: tuple[int, int, int, int],
    turn: int,
    blur: float,
    generator: random.Random,
) -> Recipe:
    """A square of random size and place in a region, in random light and colour."""
    width, height = cell[2] - cell[0], cell[3] - cell[1]
    largest = min(SIDE, width, height)
    side = generator.randint(min(_SMALLEST_BOX, largest * 9 // 10), largest)
    left = cell[0] + generator.randint(0, width - side)
    upper = cell[1] + generator.randint(0, height - side)
    red, green, blue = (round(generator.uniform(0.85, 1.15), 3) for _ in range(3))
    return Recipe(
        photo=photograph.name,
        box=(left, upper, left + side, upper + side),
        turn=turn,
        blur=blur,
        brightness=round(2 ** generator.uniform(-0.8, 0.8), 3),
        saturation=round(generator.uniform(0.2, 1.0), 3),
        tint=(red, green, blue),
    )
