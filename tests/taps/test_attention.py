"""Watched attention against what the libraries give when told to write it out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps._attention import attention


def _watched(network: Network, inputs: Any) -> list[Tensor]:
    found: list[Tensor] = []
    attention(network, inputs, lambda _, weights: found.append(weights))
    return found


def _pair(config: Any, kind: Any, example: Any) -> tuple[Network, Any]:
    """A network that uses fused attention, and the same one that writes it out."""
    torch.manual_seed(0)
    module = kind(config).eval()
    told = kind._from_config(deepcopy(config), attn_implementation="eager").eval()
    told.load_state_dict(module.state_dict())
    assert module.config._attn_implementation == "sdpa"
    return layerwise.open(module, example=example), told


@pytest.mark.parametrize("padded", [False, True])
def test_equals_what_transformers_writes_out(padded: bool) -> None:
    config = transformers.LlamaConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    ids = torch.randint(0, 30, (3, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if padded:
        inputs["attention_mask"][0, 5:] = 0
    network, told = _pair(config, transformers.LlamaForCausalLM, {"input_ids": ids[:1]})
    expected = told(**inputs, output_attentions=True).attentions
    for ours, theirs in zip(_watched(network, inputs), expected, strict=True):
        real = inputs["attention_mask"].bool()
        torch.testing.assert_close(
            ours.transpose(1, 2)[real], theirs.detach().transpose(1, 2)[real]
        )


def test_equals_what_dinov2_writes_out_and_shows_its_eager_form_too() -> None:
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=28, patch_size=14
    )
    images = torch.randn(2, 3, 28, 28)
    network, told = _pair(config, transformers.Dinov2Model, {"pixel_values": images[:1]})
    expected = told(images, output_attentions=True).attentions
    eager = layerwise.open(told, example={"pixel_values": images[:1]})
    for ours, theirs, own in zip(
        _watched(network, {"pixel_values": images}),
        expected,
        _watched(eager, {"pixel_values": images}),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs.detach())
        torch.testing.assert_close(own, theirs.detach())


@pytest.mark.parametrize("fused", [True, False])
def test_equals_timms_softmax(fused: bool) -> None:
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2
    ).eval()
    for block in module.blocks:
        block.attn.fused_attn = fused
    images = torch.randn(2, 3, 32, 32)
    network = layerwise.open(module, example=images[:1])
    ours = _watched(network, images)
    assert [w.shape for w in ours] == 2 * [torch.Size([2, 2, 5, 5])]
    block = module.blocks[0]
    tokens = module._pos_embed(module.patch_embed(images))
    qkv = block.attn.qkv(block.norm1(tokens)).reshape(2, 5, 3, 2, 12).permute(2, 0, 3, 1, 4)
    expected = (qkv[0] @ qkv[1].transpose(-2, -1) / 12**0.5).softmax(-1)
    torch.testing.assert_close(ours[0], expected.detach())


class Attend(nn.Module):
    """Attention as torchvision uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(self.attention(tokens, tokens, tokens, need_weights=False)[0])


def test_torchs_own_attention_is_seen_in_its_fast_path_too() -> None:
    torch.manual_seed(0)
    module, tokens = Attend().eval(), torch.randn(3, 4, 8)
    (ours,) = _watched(layerwise.open(module, example=tokens[:1]), tokens)
    expected = module.attention(tokens, tokens, tokens, average_attn_weights=False)[1]
    torch.testing.assert_close(ours, expected.detach())


def test_nothing_is_switched() -> None:
    config = transformers.ViTConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    module = transformers.ViTModel(config, add_pooling_layer=False).eval()
    images = torch.randn(2, 3, 16, 16)
    network = layerwise.open(module, example={"pixel_values": images[:1]})
    before = module(images).last_hidden_state
    _watched(network, {"pixel_values": images})
    assert module.config._attn_implementation == "sdpa"
    assert torch.equal(module(images).last_hidden_state, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_network_without_attention_has_none_and_hidden_attention_is_named() -> None:
    network = layerwise.open(nn.Sequential(nn.Linear(4, 4)), example=torch.zeros(1, 4))
    assert _watched(network, torch.zeros(2, 4)) == []
    with pytest.raises(LayerwiseError, match="cannot be seen"):
        attention(network, torch.zeros(2, 4), lambda *_: None, layers="0")
