"""Patterns pick what they say, and name what is near when they pick nothing."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError


@pytest.fixture(scope="module")
def layers():
    module = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    return layerwise.open(module, example=torch.randn(1, 3, 96, 96)).layers


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("blocks.3.1", ["blocks.3.1"]),
        ("blocks.3.*", ["blocks.3.0", "blocks.3.1", "blocks.3.2"]),
        ("blocks.?.0", [f"blocks.{i}.0" for i in range(7)]),
        ("blocks.0.0.**", ["blocks.0.0.conv_dw", "blocks.0.0.bn1.drop", "blocks.0.0.bn1.act"]),
        (r"re:blocks\.[01]\.\d", ["blocks.0.0", "blocks.1.0", "blocks.1.1"]),
        ("0%", ["blocks.0.0"]),
        ("100%", ["blocks.6.0"]),
        ("blocks[1:3]", ["blocks.1.0", "blocks.1.1"]),
        ("blocks[-2:]", ["blocks.5.3", "blocks.6.0"]),
        ("blocks.4[:2]", ["blocks.4.0", "blocks.4.1"]),
        ("bn2,blocks.0.0", ["blocks.0.0", "bn2"]),
        ("stages", [f"blocks.{i}" for i in range(7)]),
    ],
)
def test_patterns(layers, pattern, names):
    found = [layer.name for layer in layers.select(pattern)]
    assert found[: len(names)] == names if "**" in pattern else found == names


def test_words(layers):
    blocks = layers.select("blocks")
    assert len(blocks) == 18
    assert [blocks[0].kind, blocks[-1].kind] == ["stem", "final"]
    assert {layer.kind for layer in layers.select("kind:conv")} == {"conv"}
    assert len(layers.select("all")) == len(layers)
    assert layers.select(["blocks.1.0", "blocks.0.0"]) == layers.select("blocks.0.0, blocks.1.0")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("block.3.1", "nearest: blocks.3.1"),
        ("blocks.9*", "matches nothing"),
        ("re:(", "no regular expression"),
        ("120%", "outside 0% to 100%"),
        ("x%", "no depth"),
        ("kind:atention", "no kind of layer is called 'atention'"),
        ("", "no layer was asked for"),
        ("blocks[99:]", "matches nothing"),
    ],
)
def test_what_matches_nothing_says_so_in_one_line(layers, pattern, says):
    with pytest.raises(LayerwiseError) as caught:
        layers.select(pattern)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_costs_rise_with_depth_and_end_at_the_whole(layers):
    blocks = layers.select("blocks")
    for cost in ("parameters_before", "flops_before", "share_before"):
        values = [getattr(layer, cost) for layer in blocks]
        assert values == sorted(values)
    root = layers["."]
    module = timm.create_model("efficientnet_lite0", pretrained=False)
    assert root.parameters_before == sum(p.numel() for p in module.parameters())
    assert root.share_before == pytest.approx(1, abs=0.02)


def test_operations_agree_with_torchs_own_counter(layers):
    from torch.utils.flop_counter import FlopCounterMode

    module = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(1, 3, 96, 96))
    assert layers["."].flops == counter.get_total_flops()
    by_module = counter.get_flop_counts()["EfficientNet.blocks.3.1"]
    assert layers["blocks.3.1"].flops == sum(by_module.values())


def test_a_network_that_cannot_run_its_example_says_so():
    network = layerwise.open(nn.Linear(4, 2), example=torch.zeros(1, 5))
    with pytest.raises(LayerwiseError, match=r"does not run on its example of shape \[1, 5\]"):
        _ = network.layers


@pytest.mark.parametrize("module", [nn.Identity(), nn.Sequential(nn.ReLU(), nn.Flatten())])
def test_a_network_without_parameters_has_layers_but_no_blocks(module: nn.Module) -> None:
    network = layerwise.open(module, example=torch.zeros(1, 3))
    assert len(network.layers) == len(list(module.modules()))
    assert not [layer for layer in network.layers if layer.kind == "block"]
    for pattern in ("blocks", "stages", "50%", "blocks[0:]"):
        with pytest.raises(LayerwiseError, match=rf"pattern '{re.escape(pattern)}' matches noth"):
            network.layers.select(pattern)
