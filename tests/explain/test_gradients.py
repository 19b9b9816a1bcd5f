"""Values and gradients of many layers at once, against plain autograd one layer at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import Gradients, Target, gradients
from layerwise.features import First, Last, Max
from layerwise.models import Network
from networks import Branching, InPlace, Nested, TimeFirst


def _one_layer(network: Network, module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient at one module's output, the plain way."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    hook = module.register_forward_hook(keep)
    with torch.enable_grad():
        score = network.module(inputs.requires_grad_()).gather(1, labels[:, None]).sum()
    hook.remove()
    (slope,) = torch.autograd.grad(score, kept)
    return slope


@pytest.fixture(scope="module")
def resnet() -> Network:
    return layerwise.open("random:timm:resnet18")


def test_every_layer_equals_its_own_pass(resnet: Network) -> None:
    inputs, labels = torch.randn(2, 3, 64, 64), torch.tensor([3, 7])
    names = ("bn1", "act1", "layer1.0", "layer2.0.bn1", "layer3.1", "global_pool")
    found = gradients(resnet, inputs, labels, layers=names)
    for name in names:
        module = resnet.module.get_submodule(name)
        torch.testing.assert_close(
            found.slopes[name],
            _one_layer(resnet, module, inputs.clone(), labels),
            rtol=1e-4,
            atol=1e-6,
        )
    values = layerwise.read(resnet, inputs, names)
    assert all(torch.equal(found.values[name], values[name]) for name in names)


def test_one_forward_and_one_backward_serve_all_layers(resnet: Network) -> None:
    inputs, labels = torch.randn(2, 3, 64, 64), torch.tensor([3, 7])
    runs: list[int] = []
    hook = resnet.module.register_forward_hook(lambda *_: runs.append(1))
    try:
        gradients(resnet, inputs, labels, layers="all")
    finally:
        hook.remove()
    assert len(runs) == 1


def test_what_is_overwritten_later_is_kept() -> None:
    network = layerwise.open(InPlace().eval(), example=torch.zeros(1, 3, 9, 9))
    target = Target("next")
    inputs = torch.randn(2, 3, 9, 9)
    found = gradients(network, inputs, torch.tensor([0, 5]), layers="norm,relu", target=target)
    assert bool((found.values["norm"] < 0).any())
    live = found.values["norm"] > 0
    torch.testing.assert_close(found.slopes["norm"], found.slopes["relu"] * live)


@pytest.mark.parametrize("pooling", [First(), Last(), Max()])
def test_any_pooling_and_readout_can_be_explained(pooling: Any) -> None:
    network = layerwise.open(Nested().eval(), example=torch.zeros(1, 4, 5))
    head = nn.Linear(7, 2).requires_grad_(False)
    target = Target("lstm[0]", pooling, head)
    found = gradients(network, torch.randn(3, 4, 5), torch.tensor([0, 1, 1]), layers=".:in",
                      target=target)  # fmt: skip
    assert found.slopes[".:in[0]"].shape == (3, 4, 5)
    assert bool(found.slopes[".:in[0]"].any())


def test_layers_of_other_axes_come_in_their_standard_form() -> None:
    network = layerwise.open(TimeFirst().eval(), example=torch.zeros(1, 5, 8))
    found = gradients(network, torch.randn(2, 5, 8), torch.tensor([1, 2]), layers="layers.*")
    assert {tuple(slope.shape) for slope in found.slopes.values()} == {(2, 5, 8)}
    torch.testing.assert_close(found.slopes["layers.2"][0, :, 1], torch.full((5,), 0.2))


def test_a_layer_beside_the_way_to_the_target_has_no_gradient() -> None:
    network = layerwise.open(Nested().eval(), example=torch.zeros(1, 4, 5))
    found = gradients(
        network, torch.randn(2, 4, 5), torch.tensor([0, 1]), layers="lstm[0],attention[0]",
        target=Target("lstm[0]"),
    )  # fmt: skip
    assert not bool(found.slopes["attention[0]"].any())
    torch.testing.assert_close(found.slopes["lstm[0]"][0, :, 0], torch.full((4,), 0.25))


class Steps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.last((self.first(vectors) > 0).to(vectors.dtype))


def _explain(network: Network, inputs: Tensor, labels: list[int], **options: Any) -> Gradients:
    return gradients(network, inputs, torch.tensor(labels, dtype=torch.long), **options)


def test_mistakes_are_told_in_one_line(resnet: Network) -> None:
    inputs = torch.randn(2, 3, 64, 64)
    steps = layerwise.open(Steps(), example=torch.zeros(1, 4))
    nested = layerwise.open(Nested().eval(), example=torch.zeros(1, 4, 5))
    branching = layerwise.open(Branching(), example=torch.zeros(1, 4))
    vit = layerwise.open("random:timm:vit_tiny_patch16_224")
    mistakes = [
        (lambda: _explain(resnet, inputs, [3, 1000]), "label 1000 is out of range.*0 to 999"),
        (lambda: _explain(resnet, inputs, [3, -1]), "label -1 is out of range"),
        (lambda: _explain(resnet, inputs, [3]), "one label for each input"),
        (lambda: _explain(resnet, inputs[:0], []), "no samples"),
        (lambda: _explain(resnet, inputs / 0, [3, 7]), "NaN or infinity"),
        (lambda: _explain(vit, inputs[..., :8, :8], [3, 7]), "does not run on inputs of shape"),
        (lambda: _explain(resnet, inputs, [3, 7], layers="layer9"), "nearest"),
        (lambda: _explain(resnet, inputs, [0, 0], target=Target("layer9")), "nearest"),
        (lambda: _explain(nested, torch.randn(1, 4, 5), [0]), "could be 2 tensors"),
        (lambda: _explain(steps, torch.randn(2, 4), [0, 1], layers="first"), "has no derivative"),
        (lambda: _explain(branching, torch.randn(2, 4) + 20, [0, 1], layers="small"),
         "did not run"),
    ]  # fmt: skip
    for mistake, message in mistakes:
        with pytest.raises(LayerwiseError, match=message) as caught:
            mistake()
        assert "\n" not in str(caught.value)


def test_a_text_longer_than_the_network_is_told() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=6,
    )  # fmt: skip
    module = BertModel(config, add_pooling_layer=False).eval()
    network = layerwise.open(module, example={"input_ids": torch.zeros(1, 4, dtype=torch.long)})
    words = {"input_ids": torch.zeros(1, 9, dtype=torch.long)}
    with pytest.raises(LayerwiseError, match=r"input_ids \[1, 9\].*its example has shape"):
        gradients(network, words, torch.tensor([0]))
