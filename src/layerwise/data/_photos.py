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

import functools
import importlib.util
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from layerwise.data._columns import class_target, number_target, pick
from layerwise.data._keys import digest, numbered
from layerwise.data._samples import Samples
from layerwise.data._subset import subset
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 192
"""Pixels of a sample in each direction."""

_PER_PHOTOGRAPH = 48
_PER_FACE = 4
_BLURS = (0.0, 0.8, 1.5, 2.5, 4.0)
_TURNS = (0, 90, 180, 270)
_SMALLEST_BOX = 112


@final
@dataclass(frozen=True)
class Photograph:
    """A photograph inside an installed package, and the part of it where there is much to see.

    Args:
        name: class in the target `photo`.
        package: package that ships it.
        file: path inside the package.
        area: left, upper, right and lower edge of the part that is used, in pixels.
        columns: regions across.
        rows: regions down.
    """

    name: str
    package: str
    file: str
    area: tuple[int, int, int, int]
    columns: int = 3
    rows: int = 2


PHOTOGRAPHS = (
    Photograph("astronaut", "skimage", "data/astronaut.png", (0, 0, 512, 512), 3, 3),
    Photograph("brick", "skimage", "data/brick.png", (0, 0, 512, 512), 3, 3),
    Photograph("camera", "skimage", "data/camera.png", (0, 40, 512, 512), 3, 3),
    Photograph("cat", "skimage", "data/chelsea.png", (0, 0, 451, 300)),
    Photograph("china", "sklearn", "datasets/images/china.jpg", (60, 0, 640, 427)),
    Photograph("coffee", "skimage", "data/coffee.png", (30, 0, 600, 400)),
    Photograph("coins", "skimage", "data/coins.png", (0, 0, 384, 303)),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", (160, 60, 500, 400), 2, 3),
    Photograph("grass", "skimage", "data/grass.png", (0, 0, 512, 512), 3, 3),
    Photograph("gravel", "skimage", "data/gravel.png", (0, 0, 512, 512), 3, 3),
    Photograph("moon", "skimage", "data/moon.png", (0, 0, 512, 512), 3, 3),
    Photograph("motorcycle", "skimage", "data/motorcycle_left.png", (0, 0, 741, 500), 4, 3),
    Photograph("page", "skimage", "data/page.png", (0, 0, 384, 191), 3, 1),
    Photograph("retina", "skimage", "data/retina.jpg", (220, 220, 1190, 1190), 4, 3),
    Photograph("rocket", "skimage", "data/rocket.jpg", (90, 60, 560, 427)),
    Photograph("sky", "skimage", "data/hubble_deep_field.jpg", (0, 0, 1000, 872), 4, 3),
    Photograph("text", "skimage", "data/text.png", (0, 0, 448, 172), 3, 1),
    Photograph("tissue", "skimage", "data/ihc.png", (0, 0, 512, 512), 3, 3),
)


FACES = Photograph("face", "skimage", "data/lfw_subset.npy", (0, 0, 250, 250), 10, 10)
"""A hundred faces of 25 x 25 pixels, laid out in ten rows."""


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
        cut = _pixels(item.photo).resize(size, Image.Resampling.BICUBIC, box=item.box)
        picture = ImageEnhance.Color(cut.rotate(item.turn)).enhance(item.saturation)
        bands = zip(picture.split(), item.tint, strict=True)
        gain = item.brightness
        lit = [band.point([min(255, round(v * gain * t)) for v in range(256)]) for band, t in bands]
        picture = Image.merge("RGB", lit)
        return picture.filter(ImageFilter.GaussianBlur(item.blur)) if item.blur else picture


@functools.lru_cache(maxsize=len(PHOTOGRAPHS) + 1)
def _pixels(name: str) -> Image.Image:
    from PIL import Image

    if name == FACES.name:
        faces = np.load(_path(FACES), allow_pickle=False)[: FACES.columns * FACES.rows]
        sheet = faces.reshape(FACES.rows, FACES.columns, 25, 25).transpose(0, 2, 1, 3)
        return Image.fromarray(np.rint(sheet.reshape(250, 250) * 255).astype(np.uint8)).convert(
            "RGB"
        )
    photograph = next(each for each in PHOTOGRAPHS if each.name == name)
    with Image.open(_path(photograph)) as picture:
        return picture.convert("RGB")


def _path(photograph: Photograph) -> Path:
    """Where the file lies; the package is found without being imported."""
    found = importlib.util.find_spec(photograph.package)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / photograph.file).is_file():
            return path
    raise LayerwiseError(
        f"'photos' needs {photograph.file} from the installed {photograph.package}; install "
        "scikit-image and scikit-learn from their ordinary wheels"
    )


def open_photos(
    *, targets: Sequence[str] | None = None, limit: int | None = None, seed: int = 0
) -> Samples:
    """Open the built-in photographs; see the module for what they are."""
    generator = random.Random(0)
    everything = [made for each in PHOTOGRAPHS for made in _crops(each, generator)]
    everything += _faces(generator)
    rows = subset([(recipe.photo, recipe.blur) for recipe, _ in everything], limit, seed)
    recipes = [everything[row][0] for row in rows]
    regions = [everything[row][1] for row in rows]
    face = [recipe.photo == FACES.name for recipe in recipes]
    subjects = [
        region if is_face else recipe.photo
        for recipe, region, is_face in zip(recipes, regions, face, strict=True)
    ]
    light = [recipe.brightness for recipe in recipes]
    made = (
        class_target("photo", _known(face, False, [r.photo for r in recipes])).grouped(regions),
        class_target("blur", _known(face, False, [r.blur for r in recipes])).grouped(subjects),
        number_target("brightness", _known(face, False, light)).grouped(subjects),
        class_target("rotation", _known(face, True, [r.turn for r in recipes])).grouped(subjects),
    )
    files = {each.name: digest(_path(each).read_bytes()).encode() for each in (*PHOTOGRAPHS, FACES)}
    return Samples(
        modality="image",
        source="photos",
        names=tuple(f"{region}, no. {row}" for row, region in zip(rows, regions, strict=True)),
        keys=numbered(digest(files[r.photo], repr((SIDE, r)).encode()) for r in recipes),
        items=tuple(recipes),
        loader=PhotoLoader(),
        targets=pick({target.name: target for target in made}, targets),
    )


def _known(face: Sequence[bool], of_faces: bool, values: Sequence[Any]) -> list[Any]:
    """Values where they are a target: of the faces, or of everything else."""
    return [v if is_face == of_faces else None for v, is_face in zip(values, face, strict=True)]


def _crops(photograph: Photograph, generator: random.Random) -> list[tuple[Recipe, str]]:
    """Recipes of one photograph and their regions: all changes equally often, everywhere."""
    cells = _cells(photograph)
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


def _faces(generator: random.Random) -> list[tuple[Recipe, str]]:
    """Recipes of the faces, each turned in every direction."""
    return [
        (_recipe(FACES, cell, turn, 0.0, generator), f"face {i + 1}")
        for i, cell in enumerate(_cells(FACES))
        for turn in _TURNS[:_PER_FACE]
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


def _cells(photograph: Photograph) -> list[tuple[int, int, int, int]]:
    """The regions of a photograph, row by row."""
    left, upper, right, lower = photograph.area
    xs = [left + (right - left) * i // photograph.columns for i in range(photograph.columns + 1)]
    ys = [upper + (lower - upper) * i // photograph.rows for i in range(photograph.rows + 1)]
    return [(x, y, x2, y2) for y, y2 in pairwise(ys) for x, x2 in pairwise(xs)]
