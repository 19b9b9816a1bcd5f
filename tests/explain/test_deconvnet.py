"""Rectifiers with another way back, against captum, and against occlusion on real units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional

import layerwise
from explained import SIDE, classifier, photographs
from layerwise.errors import LayerwiseError
from layerwise.explain import Target, covered, deconvnet, guided_backpropagation, input_slopes
from layerwise.features import Max

Claim = Callable[..., None]


def _plain(inplace: bool = False) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(8 * 36, 4),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    ("method", "oracle"),
    [(deconvnet, attr.Deconvolution), (guided_backpropagation, attr.GuidedBackprop)],
)
@pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks")
def test_equals_captum(method: Callable[..., Tensor], oracle: Callable[..., object]) -> None:
    module = _plain()
    network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
    inputs, labels = torch.randn(3, 3, 16, 16), torch.tensor([0, 1, 3])
    expected = oracle(module).attribute(inputs.clone().requires_grad_(), target=labels)
    torch.testing.assert_close(
        method(network, inputs, labels), expected.detach(), rtol=1e-5, atol=1e-6
    )


class Functional(nn.Module):
    """The same network, whose rectifiers are no modules."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pictures: Tensor) -> Tensor:
        first = self.inner[0](pictures)
        first.relu_()
        second = functional.relu(self.inner[3](functional.max_pool2d(first, 2)), inplace=True)
        return self.inner[6](second.flatten(1))


@pytest.mark.parametrize("method", [deconvnet, guided_backpropagation])
def test_rectifiers_are_found_however_they_are_called(method: Callable[..., Tensor]) -> None:
    inner = _plain()
    given = torch.randn(2, 3, 16, 16), torch.tensor([0, 3])
    example = torch.zeros(1, 3, 16, 16)
    expected = method(layerwise.open(inner, example=example), *given)
    for other in (Functional(inner).eval(), _plain(inplace=True)):
        if not isinstance(other, Functional):
            other.load_state_dict(inner.state_dict())
        torch.testing.assert_close(method(layerwise.open(other, example=example), *given), expected)


def test_a_network_without_rectifiers_is_told() -> None:
    network = layerwise.open(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), example=torch.zeros(1, 3))
    with pytest.raises(LayerwiseError, match="none of the rectifiers"):
        deconvnet(network, torch.rand(1, 3), torch.tensor([0]))


@pytest.mark.weights
def test_claim_a_projection_shows_what_drives_a_unit(claim: Claim) -> None:
    network, (image, _) = classifier(), photographs()
    target = Target("blocks.3.0", Max())
    activations = target.read(network, image)
    window, wins, falls, chances, inside = 24, 0, 0.0, 0.0, 1.0
    units = [(i, int(u)) for i in (0, 2, 4) for u in activations[i].topk(4).indices]
    for i, unit in units:
        picture, label = image[i : i + 1], torch.tensor([unit])
        energy = deconvnet(network, picture, label, target=target).square().sum(1, keepdim=True)
        field = input_slopes(network, picture, label, target=target).abs().sum(1, keepdim=True) > 0
        reach = functional.max_pool2d(field.float(), 9, 1, 4)  # rectifiers thin the true field out
        inside = min(inside, float((energy * (reach > 0)).sum() / energy.sum()))
        sums = functional.avg_pool2d(energy, window, 1)
        row, column = divmod(int(sums.argmax()), sums.shape[3])
        generator = torch.Generator().manual_seed(unit)
        places = [(row, column), *torch.randint(0, SIDE - window, (6, 2), generator=generator)]
        keep = torch.ones(len(places), 1, SIDE, SIDE)
        for k, (y, x) in enumerate(places):
            keep[k, :, y : y + window, x : x + window] = 0
        left = covered(network, picture.expand(len(places), -1, -1, -1), keep=keep, target=target)
        fall = (activations[i, unit] - left[:, unit]) / activations[i, unit]
        falls += float(fall[0]) / len(units)
        chances += float(fall[1:].mean()) / len(units)
        wins += int(fall[0] > fall[1:].mean())
    claim(
        paper="P088",
        says="Of 12 units in the middle of EfficientNet-Lite0 on 3 photographs, covering the "
        "24-pixel window with most deconvnet energy lowers the unit's activation more than "
        "covering random windows (mean of 6), and at least 80 % of the energy lies in the unit's "
        "field.",
        measured={
            "fall": falls,
            "fall, random": chances,
            "units for which it is larger": wins,
            "least energy in the field": inside,
        },
        holds=wins == len(units) and inside > 0.8,
    )
    assert falls > 2 * chances
    assert wins > 0.7 * len(units)
