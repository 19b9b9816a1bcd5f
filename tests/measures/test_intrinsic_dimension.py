from __future__ import annotations

import numpy as np
import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.measures import intrinsic_dimension


def _sphere(random: np.random.Generator) -> np.ndarray:
    points = random.standard_normal((700, 5))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _roll(random: np.random.Generator) -> np.ndarray:
    angle = 1.5 * np.pi * (1 + 2 * random.random(900))
    return np.stack([angle * np.cos(angle), 21 * random.random(900), angle * np.sin(angle)], 1)


def _wide(random: np.random.Generator) -> np.ndarray:
    return np.tanh(random.standard_normal((600, 8)) @ random.standard_normal((8, 64)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(_sphere, 3.6648228043815783), (_roll, 1.9530446028939585), (_wide, 7.058068206819592)],
)
def test_equals_scikit_dimension(make: object, expected: float) -> None:
    """The numbers are `skdim.id.TwoNN().fit(points).dimension_` of scikit-dimension 0.5.0."""
    points = torch.from_numpy(make(np.random.default_rng(0)))
    assert intrinsic_dimension(points).item() == pytest.approx(expected, rel=1e-9)
    assert intrinsic_dimension(points.float()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_finds_the_dimension_of_a_folded_cube(dimension: int) -> None:
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        cube = torch.rand(1000, dimension, generator=generator)
        turned = torch.cat([cube, (2 * cube).cos()], 1) @ torch.randn(
            2 * dimension, 30, generator=generator
        )
        found.append(intrinsic_dimension(turned).item())
    assert np.mean(found) == pytest.approx(dimension, rel=0.1)


def test_duplicates_change_nothing() -> None:
    points = torch.rand(200, 3)
    twice = torch.cat([points, points[:50], points[:10]])
    assert intrinsic_dimension(twice) == pytest.approx(intrinsic_dimension(points).item())


@pytest.mark.parametrize(
    "points",
    [torch.ones(9, 4), torch.arange(12.0).remainder(2)[:, None], torch.eye(12)],
    ids=["constant", "two places", "all equally far"],
)
def test_is_undefined_without_different_distances(points: torch.Tensor) -> None:
    assert intrinsic_dimension(points).isnan()


def test_mistakes_are_named() -> None:
    with pytest.raises(LayerwiseError, match="2 samples; this measure needs at least 3"):
        intrinsic_dimension(torch.randn(2, 4))
    with pytest.raises(LayerwiseError, match="expected a share between 0 and 1"):
        intrinsic_dimension(torch.randn(9, 4), discard=1.0)
