"""Three families of visualisation, counted and compared on real photographs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

import layerwise
from explained import SIDE, classifier, photographs
from layerwise.errors import LayerwiseError
from layerwise.explain import covered, feature_visualiser, guided_backpropagation, occlusion
from layerwise.models import Network

Claim = Callable[..., None]


@pytest.fixture
def small() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    return layerwise.open(module.eval(), example=torch.zeros(1, 3, 16, 16))


def test_passes_are_counted_and_maps_are_the_methods_own(small: Network) -> None:
    image, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 2])
    modified, back, made = feature_visualiser(small, image, labels, steps=5)
    windows = 15 * 15  # of two pixels, one apart
    assert (modified.forwards, modified.backwards) == (2 * (1 + windows), 0)
    assert (back.forwards, back.backwards) == (2, 2)
    assert (made.forwards, made.backwards) == (2 * (5 + 1), 2 * 5)
    assert [each.needs_input for each in (modified, back, made)] == [True, True, False]
    torch.testing.assert_close(modified.shown, occlusion(small, image, labels))
    guided = guided_backpropagation(small, image, labels)
    torch.testing.assert_close(back.shown[:, 0], guided.abs().amax(1))
    assert made.shown.shape == image.shape


def test_a_made_picture_moves_its_unit(small: Network) -> None:
    image, labels = torch.rand(3, 3, 16, 16), torch.tensor([0, 1, 2])
    made = feature_visualiser(small, image, labels, steps=30)[2]
    rise = small.module(made.shown) - small.module(torch.full_like(image, 0.5))
    assert bool((rise.detach().diagonal() > 0).all())


def test_mistakes_are_told(small: Network) -> None:
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(LayerwiseError, match="label 3 is out of range"):
        feature_visualiser(small, image, torch.tensor([3]))
    with pytest.raises(LayerwiseError, match="nearest"):
        feature_visualiser(small, image, torch.tensor([0]), layer="9")


@pytest.mark.weights
@pytest.mark.slow
def test_claim_each_family_finds_what_the_class_hangs_on(claim: Claim) -> None:
    network, (image, labels) = classifier(), photographs()
    image, labels = image[:3], labels[:3]
    blurred = gaussian_blur(image, [31, 31], [8.0, 8.0])

    def probability(pixels: Tensor) -> Tensor:
        return covered(network, pixels).softmax(1).gather(1, labels[:, None])[:, 0]

    def fall(score: Tensor) -> float:
        flat = score.flatten(1)
        top = torch.zeros_like(flat).scatter(1, flat.topk(SIDE * SIDE // 10).indices, 1.0)
        gone = top.view(-1, 1, SIDE, SIDE) > 0
        return float((whole - probability(torch.where(gone, blurred, image))).mean())

    whole = probability(image)
    modified, back, made = feature_visualiser(network, image, labels, steps=48)
    coarse = [
        nn.functional.interpolate(
            torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(seed)), (SIDE, SIDE)
        )
        for seed in range(3)
    ]
    chance = [fall(rough) for rough in coarse]
    prepare = network.prepare
    std, mean = (torch.tensor(v).view(3, 1, 1) for v in (prepare.std, prepare.mean))
    reached = probability((made.shown - mean) / std)
    falls = {"modification": fall(modified.shown), "deconvolution": fall(back.shown)}
    claim(
        paper="P215",
        says="On 3 photographs, blurring the tenth of the pixels that occlusion and guided "
        "backpropagation rank first lowers EfficientNet-Lite0's class probability more than "
        "blurring a random tenth (3 draws), and a picture made for the class is taken for it with "
        "probability above 0.9.",
        measured={
            **{f"fall, {name}": value for name, value in falls.items()},
            "fall, random": max(chance),
            "least probability of a made picture": float(reached.min()),
        },
        holds=min(falls.values()) > max(chance) and bool((reached > 0.9).all()),
    )
    assert min(falls.values()) > max(chance)
    assert bool((reached > 0.9).all())
