"""Every explanation keeps the laws, and the laws catch those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layerwise.explain import (
    deconvnet,
    faithfulness,
    feature_visualiser,
    grad_cam,
    gradient_x_activation,
    gradient_x_input,
    gradients,
    guided_backpropagation,
    input_slopes,
    integrated_gradients,
    occlusion,
    randomisation,
    regional_prediction_difference,
)
from layerwise.explain.laws import Attribution, check, check_restored
from layerwise.models import Network

ATTRIBUTIONS = [
    pytest.param(lambda *given: gradients(*given, layers=".:in").slopes[".:in[0]"], 0, id="input"),
    pytest.param(lambda *given: gradients(*given, layers="0").slopes["0"], 0, id="layer"),
    pytest.param(input_slopes, 0, id="input_slopes"),
    pytest.param(gradient_x_input, 0, id="gradient_x_input"),
    pytest.param(occlusion, 2, id="occlusion"),
    pytest.param(deconvnet, 0, id="deconvnet"),
    pytest.param(guided_backpropagation, 0, id="guided_backpropagation"),
    pytest.param(
        lambda *given: regional_prediction_difference(*given, scales=[80], draws=1),
        9,
        id="regional_prediction_difference",
    ),
    pytest.param(lambda *given: grad_cam(*given, layers="2")["2"], 0, id="grad_cam"),
    pytest.param(
        lambda *given: gradient_x_activation(*given, layers="0")["0"], 0, id="gradient_x_activation"
    ),
    pytest.param(
        lambda *given: integrated_gradients(*given, layers="0").parts["0"],
        0,
        id="integrated_gradients",
    ),
]


@pytest.mark.parametrize(("attribute", "margin"), ATTRIBUTIONS)
def test_attributions_keep_the_laws(attribute: Attribution, margin: int) -> None:
    check(attribute, margin=margin)


@pytest.mark.parametrize(
    "explain",
    [
        gradients,
        randomisation,
        lambda *given: feature_visualiser(*given, steps=2),
        lambda *given: faithfulness(*given, torch.eye(8).expand(4, 1, 8, 8)),
    ],
)
def test_other_explanations_leave_everything_as_it_was(explain: Attribution) -> None:
    check_restored(explain)


def _slopes(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    return gradients(network, inputs, labels, layers=".:in").slopes[".:in[0]"]


def _blurred(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(_slopes(network, inputs, labels), 9, 1, 4)


def _silent(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    return 0 * _slopes(network, inputs, labels)


def _of_the_picture(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    return inputs * (torch.arange(16) < 4)


def _mixing(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    slopes = _slopes(network, inputs, labels)
    return slopes / (1e-9 + slopes.abs().sum())


def _with_weights(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    pixels = inputs.clone().requires_grad_()
    network(pixels).gather(1, labels[:, None]).sum().backward()
    assert pixels.grad is not None
    return pixels.grad


def _leaving_a_hook(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    network.module[0].register_forward_hook(lambda *_: None)
    return _slopes(network, inputs, labels)


def _leaving_a_mode(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    slopes = _slopes(network, inputs, labels)
    network.module.eval()
    return slopes


def _leaving_flags_after_an_error(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    flags = [weight.requires_grad for weight in network.module.parameters()]
    network.module.requires_grad_(False)
    slopes = _slopes(network, inputs, labels)
    for weight, flag in zip(network.module.parameters(), flags, strict=True):
        weight.requires_grad_(flag)
    return slopes


def _swallowing(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    try:
        return _slopes(network, inputs, labels)
    except ValueError:
        return inputs


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (_blurred, "cannot depend"),
        (_silent, "has no effect"),
        (_of_the_picture, "an output that is fixed"),
        (_mixing, "samples feel each other"),
        (_with_weights, "their gradients are not as before"),
        (_leaving_a_hook, "the hooks are not as before"),
        (_leaving_a_mode, "the modes are not as before"),
        (_leaving_flags_after_an_error, "flags are not as before after an error"),
        (_swallowing, "a network that fails was explained"),
    ],
)
def test_the_laws_catch_what_is_broken(attribute: Attribution, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(attribute)
