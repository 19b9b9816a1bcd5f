"""Defects made up on normal pictures, with the places where they are.

A blob of smooth noise is filled with another part of the same pictures in other light (a stain), a
piece is cut out and pasted elsewhere, or a thin line is drawn (a scratch).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


def synthetic_defects(
    image: Float[Tensor, "n 3 h w"], *, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "n 3 h w"], Bool[Tensor, "n h w"]]:
    """Give each picture one defect.

    Args:
        image: normal pictures, on any scale.
        generator: for kinds and places; without it, one of seed 0.

    Returns:
        The pictures with their defects, and masks of the places that changed.

    Raises:
        LayerwiseError: the pictures are smaller than 4 pixels, or not finite.

    Example:
        >>> image = torch.rand(2, 3, 16, 16)
        >>> defective, mask = synthetic_defects(image)
        >>> bool((defective == image)[~mask.unsqueeze(1).expand_as(image)].all())
        True
    """
    if min(image.shape[2:]) < 4:
        raise LayerwiseError(f"pictures of {list(image.shape[2:])} pixels; give at least 4 by 4")
    require_finite(image, "pictures")
    generator = generator or torch.Generator().manual_seed(0)
    if len(image) == 0:
        return image.clone(), torch.zeros(0, *image.shape[2:], dtype=torch.bool)
    low, high = image.amin(), image.amax()
    defective, masks = image.clone(), []
    for row in range(len(image)):
        kind = int(torch.randint(3, (), generator=generator))
        height, width = image.shape[2:]
        mask = (_blob, _box, _line)[kind](height, width, generator)
        other = int(torch.randint(len(image), (), generator=generator))
        shift = [int(torch.randint(1, side, (), generator=generator)) for side in image.shape[2:]]
        filling = image[other].roll(shift, (1, 2))
        if kind != 1:
            light = 0.4 * (high - low) * (1 if float(_one(generator)) < 0.5 else -1)
            filling = (filling + light).clamp(low, high)
        defective[row] = torch.where(mask.to(image.device), filling, image[row])
        masks.append((defective[row] != image[row]).any(0))
    return defective, torch.stack(masks)


def _one(generator: torch.Generator) -> Tensor:
    return torch.rand((), generator=generator)


def _blob(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Where smooth noise is highest, near one place."""
    noise = torch.randn(1, 1, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(noise, (height, width), mode="bicubic")[0, 0]
    y, x = (_one(generator) * side for side in (height, width))
    far = ((torch.arange(height)[:, None] - y) / height).square()
    far = far + ((torch.arange(width) - x) / width).square()
    score = smooth - 40 * far
    return score > score.flatten().topk(max(2, height * width // 40)).values[-1]


def _box(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A rectangle of an eighth to a third of each side."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    sides = [max(2, int(side * (0.125 + 0.2 * _one(generator)))) for side in (height, width)]
    top = int(torch.randint(height - sides[0] + 1, (), generator=generator))
    left = int(torch.randint(width - sides[1] + 1, (), generator=generator))
    mask[top : top + sides[0], left : left + sides[1]] = True
    return mask


def _line(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A stroke through the picture."""
    angle = 3.1416 * _one(generator)
    y, x = (side * (0.3 + 0.4 * _one(generator)) for side in (height, width))
    rows, columns = torch.arange(height)[:, None] - y, torch.arange(width) - x
    across = (rows * angle.cos() - columns * angle.sin()).abs()
    along = (rows * angle.sin() + columns * angle.cos()).abs()
    return (across <= max(0.8, min(height, width) / 60)) & (along <= 0.3 * min(height, width))
