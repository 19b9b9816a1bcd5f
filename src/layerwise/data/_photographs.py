"""Photographs that lie inside the installed scikit-image and scikit-learn.

Each is cut into regions, so that samples of one region share no pixel with those of another.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image


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


@functools.lru_cache(maxsize=len(PHOTOGRAPHS) + 1)
def pixels_of(name: str) -> Image.Image:
    """A whole photograph in RGB; it stays in memory."""
    from PIL import Image

    if name == FACES.name:
        return Image.fromarray(_sheet_of_faces()).convert("RGB")
    photograph = next(each for each in PHOTOGRAPHS if each.name == name)
    with Image.open(path_of(photograph)) as picture:
        return picture.convert("RGB")


def _sheet_of_faces() -> NDArray[np.uint8]:
    rows, columns = FACES.rows, FACES.columns
    faces = np.load(path_of(FACES), allow_pickle=False)[: rows * columns]
    sheet = faces.reshape(rows, columns, 25, 25).transpose(0, 2, 1, 3).reshape(250, 250)
    return np.rint(sheet * 255).astype(np.uint8)


def path_of(photograph: Photograph) -> Path:
    """Where the file lies; the package is found without being imported."""
    found = importlib.util.find_spec(photograph.package)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / photograph.file).is_file():
            return path
    raise LayerwiseError(
        f"'photos' needs {photograph.file} from the installed {photograph.package}; install "
        "scikit-image and scikit-learn from their ordinary wheels"
    )


def regions_of(photograph: Photograph) -> list[tuple[int, int, int, int]]:
    """The regions of a photograph, row by row."""
    left, upper, right, lower = photograph.area
    xs = [left + (right - left) * i // photograph.columns for i in range(photograph.columns + 1)]
    ys = [upper + (lower - upper) * i // photograph.rows for i in range(photograph.rows + 1)]
    return [(x, y, x2, y2) for y, y2 in pairwise(ys) for x, x2 in pairwise(xs)]
