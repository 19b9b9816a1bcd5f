"""Channels last changes no number beyond rounding, and is left alone where code refuses it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import layerwise
from layerwise.features import Mean
from layerwise.taps._channels_last import channels_last, channels_last_helps
from layerwise.taps._read import pooling


class Views(nn.Module):
    """Reads a map's memory in the order it expects."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Linear(36 * 4, 5)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.blocks[0](images).view(len(images), -1))


class Ordered(Views):
    """Answers otherwise in the other order, without an error."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.blocks[0](images)
        flat = maps.as_strided((len(images), 36 * 4), (36 * 4, 1))
        return self.blocks[1](flat)


def helps(network: layerwise.Network) -> bool:
    layers = network.layers.select("blocks.*")
    with pooling(network, [layer.name for layer in layers], [Mean()]) as run:
        return channels_last_helps(network, run)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_the_same_numbers_up_to_rounding(name: str) -> None:
    network = layerwise.open(f"random:timm:{name}")
    inputs = torch.rand(3, *network.example.shape[1:])
    with pooling(network, "blocks", [Mean()]) as run:
        assert channels_last_helps(network, run)
        usual, other = run(inputs), run(channels_last(inputs))
    for key, value in usual.items():
        torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [Views(), Ordered()], ids=["an error", "other numbers"])
def test_a_network_that_minds_is_left_alone(module: nn.Module) -> None:
    network = layerwise.open(
        module.eval(),
        example=torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        prepare=nn.Identity(),
        modality="image",
    )
    assert not helps(network)


def test_only_pictures_are_reordered() -> None:
    tensors = layerwise.open(nn.Sequential(nn.Conv2d(3, 4, 3)), example=torch.rand(1, 3, 8, 8))
    with pooling(tensors, "0", [Mean()]) as run:
        assert not channels_last_helps(tensors, run)
