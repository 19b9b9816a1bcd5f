"""Mutual nearest neighbours against a matrix of all cosines, and dense maps of any network."""

from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.search import correspond, dense
from layerwise.search._dense import centres, rows
from layerwise.taps import on_grid


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_equals_the_matrix_of_all_cosines(m: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, features = (torch.randn(k, 4, generator=generator).double() for k in (m, n))
    cosines = nn.functional.normalize(queries, dim=1) @ nn.functional.normalize(features, dim=1).T
    matches = correspond(queries, features)
    assert torch.equal(matches.rows, cosines.argmax(1))
    assert torch.equal(matches.back, cosines.argmax(0)[matches.rows])
    torch.testing.assert_close(matches.scores, cosines.amax(1))
    home = (cosines == cosines.amax(1, keepdim=True)) & (cosines == cosines.amax(0))
    assert torch.equal(matches.mutual, home.any(1))


def test_refuses_nothing_to_match() -> None:
    with pytest.raises(LayerwiseError, match="no rows"):
        correspond(torch.eye(2)[:0], torch.eye(2))
    with pytest.raises(LayerwiseError, match="NaN"):
        correspond(torch.eye(2), torch.eye(2) * torch.nan)


def _ramp(height: int, width: int) -> Tensor:
    """Pictures that say where they are: red to the right, green down."""
    down, right = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    across, along = torch.meshgrid(right, down, indexing="xy")
    return torch.stack([across, along, torch.zeros(height, width)])[None]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 32), (16, 64)])
def test_tokens_become_maps_in_the_right_order(height: int, width: int) -> None:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, dynamic_img_size=True
    )
    network = layerwise.open(model.eval(), example=torch.zeros(1, 3, 32, 32))
    pictures = _ramp(height, width)
    assert dense(network, pictures, layer="50%").shape == (1, 192, height // 8, width // 8)
    # The mean colour of each cell is its middle, wherever tokens keep that order.
    cells = nn.functional.avg_pool2d(pictures, 8)
    layer = network.layers.find("blocks.0")
    tokens = torch.cat([torch.zeros(1, 1, 3), rows(cells)], 1)
    maps = on_grid(network, layer, tokens, pictures)
    torch.testing.assert_close(maps, cells)
    torch.testing.assert_close(rows(maps)[0, :, :2], centres(maps, (height, width)))


def test_one_layer_with_places_is_asked_for() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
    pictures = torch.rand(2, 3, 8, 8)
    assert dense(network, pictures, layer="0", size=(3, 5)).shape == (2, 4, 3, 5)
    with pytest.raises(LayerwiseError, match="picks 2 layers"):
        dense(network, pictures, layer="0, 1")
    with pytest.raises(LayerwiseError, match="has no places, it gives one row of 2 numbers"):
        dense(network, pictures, layer="3")
    with pytest.raises(LayerwiseError, match="no pictures"):
        dense(network, pictures[:0])
