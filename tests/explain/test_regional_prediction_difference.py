"""Regions taken away at several scales: against captum, and how faithful the maps are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum import attr
from skimage.segmentation import slic
from torch import Tensor, nn

import layerwise
from explained import classifier, photographs
from layerwise.errors import LayerwiseError
from layerwise.explain import (
    covered,
    faithfulness,
    input_slopes,
    occlusion,
    regional_prediction_difference,
)
from layerwise.explain._occlusion import fall
from layerwise.explain._randomisation import rank_correlation
from layerwise.explain._regional_prediction_difference import superpixels
from layerwise.models import Network

Claim = Callable[..., None]


@pytest.fixture
def small() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    return layerwise.open(module.eval(), example=torch.zeros(1, 3, 24, 24))


def test_falls_of_regions_equal_captum(small: Network) -> None:
    image, label = torch.rand(1, 3, 24, 24), torch.tensor([1])
    regions = superpixels(image[0], 9)
    assert bool((regions.sum(0) == 1).all())
    numbers = regions.float().argmax(0).view(1, 1, 24, 24)
    oracle = attr.FeatureAblation(small.module)
    expected = oracle.attribute(image, target=label, feature_mask=numbers.expand(1, 3, 24, 24))
    found = fall(small, image, label, regions)
    torch.testing.assert_close(found[numbers[0, 0]], expected[0, 0].detach(), rtol=1e-4, atol=1e-6)


def test_the_evidence_equals_the_formula_by_hand(small: Network) -> None:
    image, label = torch.rand(1, 3, 24, 24), torch.tensor([1])
    found = regional_prediction_difference(small, image, label, scales=[6], draws=1, hide=covered)[
        0, 0
    ]
    regions = superpixels(image[0], 6)

    def evidence(keep: Tensor | None) -> Tensor:
        p = covered(small, image, keep=keep).softmax(1)[0, 1]
        p = (p * 10_000 + 1) / (10_000 + 3)
        return torch.log2(p / (1 - p))

    falls = torch.stack([evidence(None) - evidence(~region[None, None]) for region in regions])
    expected = (falls / falls.abs().max()).view(-1, 1, 1) * regions
    torch.testing.assert_close(found, expected.sum(0), rtol=1e-3, atol=1e-5)


def test_superpixels_are_those_of_scikit_image() -> None:
    picture = torch.rand(3, 20, 20)
    shown = ((picture - picture.min()) / (picture.max() - picture.min())).permute(1, 2, 0).numpy()
    expected = slic(shown, n_segments=7, start_label=0)
    assert len(superpixels(picture, 7)) == expected.max() + 1


def test_mistakes_are_told(small: Network) -> None:
    image, label = torch.rand(1, 3, 24, 24), torch.tensor([1])
    with pytest.raises(LayerwiseError, match="at least 1 of each"):
        regional_prediction_difference(small, image, label, scales=[])
    with pytest.raises(LayerwiseError, match="label 3 is out of range"):
        regional_prediction_difference(small, image, label + 2)


@pytest.mark.weights
@pytest.mark.slow
def test_claim_regions_are_more_faithful_than_squares(claim: Claim) -> None:
    network, (image, labels) = classifier(), photographs()
    second = torch.stack([c.topk(2).indices[1] for c in covered(network, image)])
    scales, deletion, singles, squares, alike, edges = (12, 40), [], [], [], [], []
    for seed in range(3):
        given = image[2 * seed : 2 * seed + 2], labels[2 * seed : 2 * seed + 2]
        other = given[0], second[2 * seed : 2 * seed + 2]

        def area(heat: Tensor, given: tuple[Tensor, Tensor] = given) -> float:
            return float(faithfulness(network, *given, heat, draws=1).deletion.mean())

        each = [
            regional_prediction_difference(network, *given, scales=[s], draws=1, hide=covered)
            for s in scales
        ]
        against = regional_prediction_difference(
            network, *other, scales=scales, draws=1, hide=covered
        )
        fused = torch.stack(each).mean(0)
        deletion.append(area(fused))
        singles.append(sum(map(area, each)) / len(each))
        squares.append(area(occlusion(network, *given, window=36, stride=18)))  # 49 of them
        alike.append(float(rank_correlation(fused, against).mean()))
        slopes = [
            input_slopes(network, *pair).abs().amax(1, keepdim=True) for pair in (given, other)
        ]
        edges.append(float(rank_correlation(*slopes).mean()))
    mean = {
        "deletion area": sum(deletion) / 3,
        "deletion area, one scale": sum(singles) / 3,
        "deletion area, squares": sum(squares) / 3,
        "likeness of two classes": sum(alike) / 3,
        "likeness of two classes, gradient": sum(edges) / 3,
    }
    apart = mean["likeness of two classes"] < mean["likeness of two classes, gradient"]
    claim(
        paper="P264",
        says="On 6 photographs (3 pairs) the map fused from superpixels of two scales has a lower "
        "deletion area for EfficientNet-Lite0 than square windows at about the same cost, and its "
        "maps of two classes are less alike than gradients'.",
        measured=mean,
        holds=apart and mean["deletion area"] < mean["deletion area, squares"],
    )
    claim(
        paper="P264",
        says="On 6 photographs (3 pairs) the map fused from superpixels of two scales has a lower "
        "deletion area for EfficientNet-Lite0 than the mean of its single scales.",
        measured={name: mean[name] for name in ("deletion area", "deletion area, one scale")},
        holds=mean["deletion area"] < mean["deletion area, one scale"],
    )
    assert apart
    assert mean["deletion area"] < mean["deletion area, squares"]
