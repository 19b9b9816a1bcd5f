"""Many layers in one call, equal to captum's answer for each layer alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from captum import attr
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import (
    At,
    Target,
    grad_cam,
    gradient_x_activation,
    heat,
    integrated_gradients,
)
from layerwise.models import Network
from networks import TimeFirst

LAYERS = ("layer1.0", "layer2.1", "layer4.0")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def resnet() -> Network:
    return layerwise.open("random:timm:resnet18")


@pytest.fixture
def given() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 64, 64, generator=generator), torch.tensor([3, 7])


def _captum(make: Callable[[nn.Module, nn.Module], Any], network: Network, name: str) -> Any:
    return make(network.module, network.module.get_submodule(name))


def test_gradient_x_activation_equals_captum(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    parts = gradient_x_activation(resnet, *given, layers=LAYERS)
    for name in LAYERS:
        oracle = _captum(attr.LayerGradientXActivation, resnet, name)
        expected = oracle.attribute(given[0], given[1])
        torch.testing.assert_close(parts[name], expected.detach(), **CLOSE)


def test_gradient_x_input_equals_captum(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    parts = gradient_x_activation(resnet, *given, layers=".:in")[".:in[0]"]
    expected = attr.InputXGradient(resnet.module).attribute(
        given[0].clone().requires_grad_(), given[1]
    )
    torch.testing.assert_close(parts, expected.detach(), **CLOSE)


def test_grad_cam_equals_captum(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    maps = grad_cam(resnet, *given, layers=LAYERS)
    for name in LAYERS:
        oracle = _captum(attr.LayerGradCam, resnet, name)
        torch.testing.assert_close(maps[name], oracle.attribute(*given).detach(), **CLOSE)


def test_integrated_gradients_equal_captum(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    found = integrated_gradients(resnet, *given, layers=[".:in", *LAYERS[1:]], steps=8)
    expected, gap = attr.IntegratedGradients(resnet.module).attribute(
        given[0], target=given[1], n_steps=8, return_convergence_delta=True
    )
    torch.testing.assert_close(found.parts[".:in[0]"], expected.to(torch.float32), **CLOSE)
    torch.testing.assert_close(found.gaps[".:in[0]"], gap.to(torch.float32), rtol=1e-3, atol=1e-4)
    for name in LAYERS[1:]:
        oracle = _captum(attr.LayerIntegratedGradients, resnet, name)
        expected = oracle.attribute(given[0], target=given[1], n_steps=8)
        torch.testing.assert_close(found.parts[name], expected.to(torch.float32), **CLOSE)


def test_a_unit_is_explained_as_captum_does(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    target = Target("layer2.1", At(3 * 8 + 5))
    unit = torch.tensor([9, 9])
    oracle = _captum(attr.NeuronIntegratedGradients, resnet, "layer2.1")
    expected = oracle.attribute(given[0], (9, 3, 5), n_steps=8).to(torch.float32)
    found = integrated_gradients(
        resnet, given[0], unit, layers=".:in", target=target, steps=8
    ).parts[".:in[0]"]
    torch.testing.assert_close(found, expected, **CLOSE)
    oracle = _captum(attr.NeuronGradient, resnet, "layer2.1")
    expected = given[0] * oracle.attribute(given[0].clone().requires_grad_(), (9, 3, 5))
    parts = gradient_x_activation(resnet, given[0], unit, layers=".:in", target=target)
    torch.testing.assert_close(parts[".:in[0]"], expected.detach(), **CLOSE)


def test_integrated_gradients_add_up_at_every_layer(
    resnet: Network, given: tuple[Tensor, Tensor]
) -> None:
    found = integrated_gradients(resnet, *given, layers=["maxpool", "layer3.0"])
    with torch.no_grad():
        scores = resnet(given[0]) - resnet(torch.zeros_like(given[0]))
    wanted = scores.gather(1, given[1][:, None]).squeeze(1)
    for name, gap in found.gaps.items():
        torch.testing.assert_close(found.parts[name].flatten(1).sum(1), wanted + gap, **CLOSE)
        assert bool((gap.abs() < 0.02 * wanted.abs() + 1e-3).all()), name


class Bypassed(nn.Module):
    """What comes in is joined to what the layer makes of it, so rows have to match."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.outer = nn.Linear(8, 3)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.outer(torch.cat([vectors, self.inner(vectors)], 1))


def test_where_something_passes_the_layer_by_all_rows_run() -> None:
    module = Bypassed().eval()
    network = layerwise.open(module, example=torch.zeros(1, 4))
    inputs, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    found = integrated_gradients(network, inputs, labels, layers="inner.0", steps=6).parts
    oracle = attr.LayerIntegratedGradients(module, module.inner[0])
    expected = oracle.attribute(inputs, target=labels, n_steps=6).to(torch.float32)
    torch.testing.assert_close(found["inner.0"], expected, **CLOSE)


def test_tokens_of_a_picture_need_no_reshape_function() -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), depth=3).eval()
    network = layerwise.open(module, example=torch.zeros(1, 3, 64, 96))
    inputs, labels = torch.randn(2, 3, 64, 96), torch.tensor([5, 6])
    maps = grad_cam(network, inputs, labels, layers="blocks")
    tokens: list[Tensor] = []
    hook = module.blocks[1].register_forward_hook(lambda *given: tokens.append(given[2]))
    scores = module(inputs).gather(1, labels[:, None])
    hook.remove()
    (slopes,) = torch.autograd.grad(scores.sum(), tokens)
    weights = slopes[:, 1:].mean(1, keepdim=True)  # the class token is no place
    expected = (weights * tokens[0][:, 1:]).sum(2).detach().view(2, 1, 4, 6)
    torch.testing.assert_close(maps["blocks.1"], expected, **CLOSE)
    parts = gradient_x_activation(network, inputs, labels, layers="blocks.1")
    expected = (slopes * tokens[0])[:, 1:].sum(2).detach().view(2, 1, 4, 6)
    torch.testing.assert_close(heat(network, parts, inputs)["blocks.1"], expected, **CLOSE)


def test_tokens_of_a_text_get_one_number_each() -> None:
    network = layerwise.open(TimeFirst().eval(), example=torch.zeros(1, 5, 8))
    given = torch.randn(2, 5, 8), torch.tensor([1, 2])
    assert grad_cam(network, *given, layers="layers.1")["layers.1"].shape == (2, 5, 1)


def test_a_layer_without_places_has_no_map(resnet: Network, given: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(LayerwiseError, match=r"'fc' has no places.*'layer4\.1"):
        grad_cam(resnet, *given, layers="fc")
    with pytest.raises(LayerwiseError, match="at least 1"):
        integrated_gradients(resnet, *given, steps=0)
    with pytest.raises(LayerwiseError, match="place 900 is not among"):
        grad_cam(resnet, *given, target=Target("layer4.1", At(900)))
