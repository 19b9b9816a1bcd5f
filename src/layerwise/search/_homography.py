"""Random views of pictures whose every place is known: for training and testing what matches."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn


def random_homographies(
    count: int, *, strength: float = 0.2, generator: Generator | None = None
) -> Float[Tensor, "n 3 3"]:
    """Maps of the square from -1 to 1 whose corners move by up to `strength` of its half side.

    Args:
        count: how many.
        strength: of the moves.
        generator: for them.

    Example:
        >>> maps = random_homographies(2, strength=0.0)
        >>> bool(torch.allclose(maps, torch.eye(3).expand(2, 3, 3), atol=1e-6))
        True
    """
    generator = generator or Generator().manual_seed(0)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).expand(count, 4, 2)
    moved = corners + strength * (2 * torch.rand(count, 4, 2, generator=generator) - 1)
    x, y = corners.unbind(2)
    u, v = moved.unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    upper = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 2)
    lower = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 2)
    solved = torch.linalg.solve(torch.cat([upper, lower], 1), torch.cat([u, v], 1))
    return torch.cat([solved, solved.new_ones(count, 1)], 1).unflatten(1, (3, 3))


def carry(maps: Float[Tensor, "n 3 3"], places: Float[Tensor, "t 2"]) -> Float[Tensor, "n t 2"]:
    """Where the maps take places, both from -1 to 1."""
    homogeneous = torch.cat([places, torch.ones_like(places[:, :1])], 1) @ maps.transpose(1, 2)
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1e-6)


def seen_through(
    image: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n c h w"]:
    """Views in which the place p shows what the picture has at `carry(maps, p)`."""
    height, width = image.shape[2:]
    down = (torch.arange(height).to(image) + 0.5) * 2 / height - 1
    right = (torch.arange(width).to(image) + 0.5) * 2 / width - 1
    grid = torch.stack(torch.meshgrid(right, down, indexing="xy"), 2).flatten(0, 1)
    places = carry(maps.to(image), grid).unflatten(1, (height, width))
    return nn.functional.grid_sample(image, places, padding_mode="reflection", align_corners=False)


def relit(image: Float[Tensor, "n c h w"], generator: Generator) -> Tensor:
    """Other contrast, light and colour."""
    gain = 0.6 + 0.8 * torch.rand(len(image), image.shape[1], 1, 1, generator=generator)
    light = 0.3 * (2 * torch.rand(len(image), 1, 1, 1, generator=generator) - 1)
    return image * gain.to(image) + light.to(image) * image.std()
