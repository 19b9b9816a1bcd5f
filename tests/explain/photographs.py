"""Square crops of photographs in colour, in two sets that share no pixel."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from layerwise.data._photographs import PHOTOGRAPHS, pixels_of, regions_of
from layerwise.explain._spectrum import NATURAL


def crops(
    count: int, side: int, *, seed: int, held_out: bool = False, only: tuple[str, ...] = NATURAL
) -> Tensor:
    """Crops of half to all of a region, values from 0 to 1, the photographs in turn.

    Every third region of a photograph is held out.
    """
    draw = np.random.default_rng(seed)
    chosen = [photograph for photograph in PHOTOGRAPHS if photograph.name in only]
    found = []
    for number in range(count):
        photograph = chosen[number % len(chosen)]
        regions = [r for i, r in enumerate(regions_of(photograph)) if (i % 3 == 0) == held_out]
        left, upper, right, lower = regions[draw.integers(len(regions))]
        length = draw.uniform(0.5, 1) * min(right - left, lower - upper)
        x, y = draw.uniform(left, right - length), draw.uniform(upper, lower - length)
        cut = pixels_of(photograph.name).resize(
            (side, side), Image.Resampling.BICUBIC, box=(x, y, x + length, y + length)
        )
        found.append(np.asarray(cut))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 255
