"""Additions to the stream against sums written out, over the habits of several libraries."""

from __future__ import annotations

import pytest
import timm
import torch
import transformers
from torch import Tensor

import layerwise
from layerwise.models import Network
from layerwise.taps import Addition, additions, read


def _seen(network: Network) -> dict[str, list[Addition]]:
    found: dict[str, list[Addition]] = {}

    def receive(added: Addition) -> None:
        found.setdefault(added.block.name, []).append(added)

    with torch.no_grad(), additions(network, receive):
        network(network.example)
    return found


def _vit() -> Network:
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2
    )
    return layerwise.open(module.eval(), example=torch.randn(1, 3, 32, 32))


def _resnet() -> Network:
    torch.manual_seed(0)
    module = timm.models.ResNet(timm.models.resnet.BasicBlock, (2, 2, 1, 1), channels=(8,) * 4)
    return layerwise.open(module.eval(), example=torch.randn(1, 3, 32, 32))


def _dinov2() -> Network:
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    torch.manual_seed(0)
    module = transformers.Dinov2Model(config).eval()
    for parameter in module.parameters():  # layer scales of 1 would hide that they are there
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layerwise.open(module, example={"pixel_values": torch.randn(1, 3, 28, 28)})


def _llama() -> Network:
    from layerwise.vocabulary import WORDS

    word = next(word for word in WORDS if word.name == "language_model")
    return word.example(torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_llama, 3),
        (_dinov2, 2),
        (_vit, 2),
    ],
    ids=["llama", "dinov2", "timm"],
)
def test_attention_and_mlp_are_told_apart_and_add_up(make, expected: int) -> None:
    network = make()
    seen = _seen(network)
    assert len(seen) == expected
    entries = {name: network.layers.entry(network.layers[name]).name for name in seen}
    states = read(network, network.example, [*seen, *entries.values()])
    for name, (first, second) in seen.items():
        assert "attention" in first.kinds
        assert "mlp" not in first.kinds
        assert "mlp" in second.kinds
        assert "attention" not in second.kinds
        assert torch.equal(first.stream, states[entries[name]])
        assert torch.equal(second.stream, first.stream + first.branch)
        torch.testing.assert_close(second.stream + second.branch, states[name])


def test_convolutional_blocks_show_their_skips_and_no_others() -> None:
    network = _resnet()
    seen = _seen(network)
    # The first block of a stage sends its skip through a convolution: no identity.
    assert set(seen) == {"layer1.1", "layer2.1"}
    for name, (added,) in seen.items():
        output = read(network, network.example, name)[name]
        torch.testing.assert_close((added.stream + added.branch).relu(), output)


def test_a_parallel_block_adds_both_at_once() -> None:
    config = transformers.GPTNeoXConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        use_parallel_residual=True,
    )
    module = transformers.GPTNeoXForCausalLM(config).eval()
    network = layerwise.open(module, example={"input_ids": torch.arange(6)[None]})
    for (added,) in _seen(network).values():
        assert {"attention", "mlp"} <= added.kinds


def test_nothing_changes_and_no_hook_is_left_even_after_an_error() -> None:
    network = _llama()
    before = network.module(**network.example).logits

    def fail(_: Addition) -> Tensor:
        raise RuntimeError("enough")

    with additions(network, lambda _: None):
        assert torch.equal(network.module(**network.example).logits, before)
    with pytest.raises(RuntimeError, match="enough"), additions(network, fail):
        network.module(**network.example)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.module.modules())
