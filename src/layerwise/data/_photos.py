"""`photos`: crops of the photographs inside scikit-image and scikit-learn, changed in known ways.

Nothing is downloaded. Every sample is a recipe: a box in a photograph, how far it is turned,
blurred and brightened, and a jitter of colour that is no target. The targets differ in nature, so
that they are read best at different depths: which photograph it is needs what is in it, the turn
needs where its parts are, blur and brightness need only fine structure and light.

`photo` is tested on regions that share no pixel with a training crop: its groups are the cells of a
grid in each photograph. The other targets are tested on photographs never trained on: their groups
are the photographs.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch

from layerwise.data._columns import class_target, pick
from layerwise.data._keys import digest, numbered
from layerwise.data._samples import Samples, Target
from layerwise.data._subset import subset
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 192
"""Pixels of a sample in each direction."""

_SAMPLES_PER_PHOTOGRAPH = 64
_BLURS = (0.0, 0.8, 1.5, 2.5, 4.0)
_TURNS = (0, 90, 180, 270)
_SMALLEST_BOX = 112


@final
@dataclass(frozen=True)
class Photograph:
    """A photograph inside an installed package, and the part of it with something to see.

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


@final
@dataclass(frozen=True)
class Recipe:
    """How one sample is made: cut, resize, turn, change colour and light, blur.

    Args:
        photo: name of the photograph.
        box: left, upper, right and lower edge in its pixels.
        turn: degrees counter-clockwise.
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

        cut = _pixels(item.photo).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC, box=item.box, reducing_gap=None
        )
        picture = ImageEnhance.Color(cut.rotate(item.turn)).enhance(item.saturation)
        bands = zip(picture.split(), item.tint, strict=True)
        gain = item.brightness
        lit = [band.point([min(255, round(v * gain * t)) for v in range(256)]) for band, t in bands]
        picture = Image.merge("RGB", lit)
        return picture.filter(ImageFilter.GaussianBlur(item.blur)) if item.blur else picture


@functools.lru_cache(maxsize=len(PHOTOGRAPHS))
def _pixels(name: str) -> Image.Image:
    from PIL import Image

    photograph = next(p for p in PHOTOGRAPHS if p.name == name)
    with Image.open(_path(photograph)) as picture:
        return picture.convert("RGB")


def _path(photograph: Photograph) -> Path:
    path = Path(str(resources.files(photograph.package))) / photograph.file
    if not path.is_file():
        raise LayerwiseError(
            f"the photograph {photograph.file} is missing from the installed {photograph.package}; "
            "install scikit-image and scikit-learn from their ordinary wheels"
        )
    return path


def open_photos(
    *, targets: Sequence[str] | None = None, limit: int | None = None, seed: int = 0
) -> Samples:
    """Open the built-in photographs; see the module for what they are."""
    generator = random.Random(0)
    recipes, regions = [], []
    for photograph in PHOTOGRAPHS:
        for recipe, region in _recipes(photograph, generator):
            recipes.append(recipe)
            regions.append(region)
    chosen = subset([recipe.photo for recipe in recipes], limit, seed)
    recipes = [recipes[i] for i in chosen]
    regions = [regions[i] for i in chosen]
    bytes_of = {p.name: digest(_path(p).read_bytes()).encode() for p in PHOTOGRAPHS}
    photos = tuple(recipe.photo for recipe in recipes)
    made = {
        "photo": class_target("photo", photos).grouped(regions),
        "rotation": class_target("rotation", [r.turn for r in recipes]).grouped(photos),
        "blur": class_target("blur", [r.blur for r in recipes]).grouped(photos),
        "brightness": Target(
            "brightness",
            "number",
            torch.tensor([r.brightness for r in recipes], dtype=torch.float64),
            groups=photos,
        ),
    }
    return Samples(
        modality="image",
        source="photos",
        names=tuple(f"{region} #{i}" for i, region in zip(chosen, regions, strict=True)),
        keys=numbered(digest(bytes_of[r.photo], repr((SIDE, r)).encode()) for r in recipes),
        items=tuple(recipes),
        loader=PhotoLoader(),
        targets=pick(made, targets),
    )


def _recipes(photograph: Photograph, generator: random.Random) -> list[tuple[Recipe, str]]:
    """Recipes of one photograph: all blurs and turns equally often, spread over its regions."""
    cells = _cells(photograph)
    changes = [(blur, turn) for blur in _BLURS for turn in _TURNS]
    made = []
    for i in range(_SAMPLES_PER_PHOTOGRAPH):
        if i % len(changes) == 0:
            generator.shuffle(changes)
        blur, turn = changes[i % len(changes)]
        cell = i % len(cells)
        recipe = Recipe(
            photo=photograph.name,
            box=_box(cells[cell], generator),
            turn=turn,
            blur=blur,
            brightness=round(2 ** generator.uniform(-0.8, 0.8), 3),
            saturation=round(generator.uniform(0.2, 1.0), 3),
            tint=(
                round(generator.uniform(0.85, 1.15), 3),
                round(generator.uniform(0.85, 1.15), 3),
                round(generator.uniform(0.85, 1.15), 3),
            ),
        )
        made.append((recipe, f"{photograph.name}, region {cell + 1}"))
    return made


def _cells(photograph: Photograph) -> list[tuple[int, int, int, int]]:
    left, upper, right, lower = photograph.area
    xs = [left + (right - left) * i // photograph.columns for i in range(photograph.columns + 1)]
    ys = [upper + (lower - upper) * i // photograph.rows for i in range(photograph.rows + 1)]
    return [
        (xs[i], ys[j], xs[i + 1], ys[j + 1])
        for j in range(photograph.rows)
        for i in range(photograph.columns)
    ]


def _box(cell: tuple[int, int, int, int], generator: random.Random) -> tuple[int, int, int, int]:
    """A square of random size and place inside a region."""
    width, height = cell[2] - cell[0], cell[3] - cell[1]
    side = generator.randint(min(_SMALLEST_BOX, width, height), min(SIDE, width, height))
    left = cell[0] + generator.randint(0, width - side)
    upper = cell[1] + generator.randint(0, height - side)
    return (left, upper, left + side, upper + side)
