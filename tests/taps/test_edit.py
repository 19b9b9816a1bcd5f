"""Edits change what flows out of a layer as said, in standard form, and only inside the `with`."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.taps import Add, Clamp, Replace, Scale, Skip, edit, read
from networks import Nested, TimeFirst


@pytest.fixture(scope="module")
def vit():
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=4).eval()
    return layerwise.open(module, example=torch.randn(1, 3, 224, 224))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_skipping_a_block_equals_the_network_without_it(vit, images):
    with torch.no_grad():
        bare = vit(images)
        with edit(vit, {"blocks.2": Skip()}):
            skipped = vit(images)
        kept = vit.module.blocks
        vit.module.blocks = nn.Sequential(*(b for i, b in enumerate(kept) if i != 2))
        expected = vit(images)
        vit.module.blocks = kept
        assert torch.equal(skipped, expected)
        assert torch.equal(vit(images), bare)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Scale(0.5), lambda v: v * 0.5),
        (Add(2.0), lambda v: v + 2),
        (Replace(0.25), lambda v: torch.full_like(v, 0.25)),
        (Clamp(-0.1, 0.1), lambda v: v.clamp(-0.1, 0.1)),
        (torch.tanh, torch.tanh),
    ],
)
def test_each_edit_does_what_its_name_says(vit, images, change, expected):
    bare = read(vit, images, "blocks.1")["blocks.1"]
    with edit(vit, {"blocks.1": change}):
        now = read(vit, images, "blocks.2:in")["blocks.2:in[0]"]
    torch.testing.assert_close(now, expected(bare))


def test_clamping_some_channels_leaves_the_others(vit, images):
    bare = read(vit, images, "blocks.1")["blocks.1"]
    with edit(vit, {"blocks.1": Clamp(0.0, 0.0, channels=(3, 5))}):
        now = read(vit, images, "blocks.2:in")["blocks.2:in[0]"]
    assert not now[..., [3, 5]].any()
    rest = [c for c in range(bare.shape[-1]) if c not in (3, 5)]
    assert torch.equal(now[..., rest], bare[..., rest])


def test_edits_are_made_in_standard_form_whatever_the_layout():
    module = TimeFirst().eval()
    network = layerwise.open(module, example=torch.randn(1, 5, 8))
    inputs = torch.randn(3, 5, 8)
    seen = []

    def first_sample_to_zero(tokens):
        seen.append(tuple(tokens.shape))
        return torch.cat([torch.zeros_like(tokens[:1]), tokens[1:]])

    with torch.no_grad(), edit(network, {"layers.2": first_sample_to_zero}):
        out = network(inputs)
    assert seen == [(3, 5, 8)]
    assert not out[0].any()
    torch.testing.assert_close(out[1:], module(inputs)[1:], rtol=1e-4, atol=1e-5)


def test_elements_of_nested_outputs_are_edited_in_their_place():
    network = layerwise.open(Nested().eval(), example=torch.randn(1, 6, 5))
    inputs = torch.randn(2, 6, 5)
    with torch.no_grad(), edit(network, {"wrap['extra'][1]": Replace(3.0)}):
        out = network(inputs)
    assert torch.equal(out["sum"], torch.full((2, 7), 18.0))
    with torch.no_grad():  # an LSTM may run another kernel where gradients are wanted
        assert torch.equal(out["pooled"], network(inputs)["pooled"])


def test_gradients_flow_through_an_edit(vit, images):
    strength = torch.tensor(1.0, requires_grad=True)
    with edit(vit, {"blocks.0": lambda tokens: tokens * strength}):
        vit(images).sum().backward()
    assert strength.grad is not None
    assert strength.grad != 0


def test_mistakes_are_named(vit, images):
    with (
        pytest.raises(LayerwiseError, match=r"'blocks.1' gave shape \[2, 197\], it must give"),
        edit(vit, {"blocks.1": lambda tokens: tokens[..., 0]}),
    ):
        vit(images)
    with (
        pytest.raises(LayerwiseError, match=r"'patch_embed.proj' cannot be skipped"),
        edit(vit, {"patch_embed.proj": Skip()}),
    ):
        pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vit.module.modules())
