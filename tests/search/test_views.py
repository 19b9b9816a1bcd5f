"""Jitter and patches on pictures whose pixels say where they are."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise.search import jitter, patches


def _places(height: int = 48, width: int = 48) -> Tensor:
    """Two channels: how far right and how far down, from -1 to 1."""
    down = (torch.arange(height, dtype=torch.float64) + 0.5) * 2 / height - 1
    right = (torch.arange(width, dtype=torch.float64) + 0.5) * 2 / width - 1
    return torch.stack(torch.meshgrid(right, down, indexing="xy")).unsqueeze(0)


def test_sixteen_views_of_which_half_are_mirrored() -> None:
    views = jitter(_places())
    assert views.shape == (1, 16, 2, 48, 48)
    torch.testing.assert_close(views[:, 8:], views[:, :8].flip(4))
    torch.testing.assert_close(views[:, 0], _places())


def test_crops_have_four_ninths_of_the_area() -> None:
    views = jitter(_places())[0]
    spread = views[1].amax((1, 2)) - views[1].amin((1, 2))
    torch.testing.assert_close(spread, torch.full((2,), 2 * 47 / 48 * 2 / 3).double())
    centres = views[1:6].mean((2, 3))
    expected = torch.tensor([[0, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]]).double() / 3
    # At the picture's edge the outermost pixels reach half a pixel further.
    torch.testing.assert_close(centres, expected, rtol=0, atol=1e-3)


def test_turns_keep_distances_also_in_oblong_pictures() -> None:
    views = jitter(_places(40, 80))[0, 6:8]
    scale = torch.tensor([80.0, 40.0]).double()[:, None, None] / 2
    pixels = views * scale
    across = pixels[:, :, 20, 41] - pixels[:, :, 20, 40]
    down = pixels[:, :, 21, 40] - pixels[:, :, 20, 40]
    for step in (across, down):
        torch.testing.assert_close(step.norm(dim=1), torch.ones(2).double())
    torch.testing.assert_close((across * down).sum(1), torch.zeros(2).double(), rtol=0, atol=1e-9)


def test_patches_cover_the_picture_and_share_half_with_their_neighbours() -> None:
    views = patches(_places())[0]
    assert len(views) == 30
    torch.testing.assert_close(views[0], _places()[0])
    second = views[1:5].mean((2, 3))
    expected = torch.tensor([[-1, -1], [1, -1], [-1, 1], [1, 1]]).double() / 3
    torch.testing.assert_close(second, expected, rtol=0, atol=1e-3)
    fourth = views[14:].mean((2, 3))[:4, 0]
    torch.testing.assert_close(fourth.diff(), torch.full((3,), 0.4).double(), rtol=0, atol=1e-3)
