"""Logits made after the last block are the network's own, for every kind of language model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps import Unembed

SIZES = {
    "llama": {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2},
    "gpt2": {"n_embd": 16, "n_head": 2},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2},
    "opt": {"hidden_size": 16, "ffn_dim": 24, "num_attention_heads": 2, "word_embed_proj_dim": 8},
    "gemma2": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "final_logit_softcapping": 0.01,
    },
}
DEPTH = {"gpt2": "n_layer"}


def language_model(kind: str, **options: Any) -> Network:
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=40,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        **{DEPTH.get(kind, "num_hidden_layers"): 3, **SIZES[kind], **options},
    )
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    return layerwise.open(module, example={"input_ids": torch.arange(7)[None]}, name=kind)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "opt"])
def test_the_last_layers_logits_are_the_networks_own(kind: str) -> None:
    network = language_model(kind)
    unembed = Unembed(network)
    ids = torch.randint(0, 40, (3, 9))
    states = layerwise.read(network, {"input_ids": ids}, unembed.block)[unembed.block]
    expected = network.module(input_ids=ids).logits.detach()
    torch.testing.assert_close(unembed(states), expected, rtol=1e-5, atol=1e-6)
    rows = states.flatten(0, 1)
    blocks = torch.cat([block for _, block in unembed.blocks(rows)])
    torch.testing.assert_close(blocks, expected.flatten(0, 1).log_softmax(-1))


def test_rows_come_in_blocks_where_the_vocabulary_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.taps._unembed._NUMBERS", 100)
    unembed = Unembed(language_model("llama"))
    parts = [part for part, _ in unembed.blocks(torch.randn(5, 16))]
    assert parts == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_the_norm_is_the_one_before_the_head() -> None:
    network = language_model("llama")
    states = torch.randn(2, 4, 16)
    expected = network.module.model.norm(states)
    assert torch.equal(Unembed(network).norm(states), expected)


def test_what_makes_its_logits_in_another_way_is_refused() -> None:
    with pytest.raises(LayerwiseError, match="does more to its logits"):
        Unembed(language_model("gemma2"))
    encoder = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=1
        ),
        add_pooling_layer=False,
    )
    network = layerwise.open(encoder.eval(), example={"input_ids": torch.arange(5)[None]})
    with pytest.raises(LayerwiseError, match="gives no logits"):
        Unembed(network)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(LayerwiseError, match="cannot be read as a language model"):
        Unembed(layerwise.open(plain, example=torch.zeros(1, 3, 4, 4)))
