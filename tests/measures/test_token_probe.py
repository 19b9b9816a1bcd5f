"""Probes on single places against scikit-learn, and where single places know as much as all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import token_probe


def test_each_place_equals_a_classifier_that_is_refitted_without_each_picture() -> None:
    from sklearn.linear_model import Ridge

    torch.manual_seed(0)
    network = layerwise.open(
        nn.Sequential(nn.Conv2d(3, 5, 4, stride=4)).eval(), example=torch.randn(1, 3, 8, 8)
    )
    labels = torch.arange(30) % 3
    image = torch.randn(30, 3, 8, 8)
    image[:, 0, :4, 4:] += 3 * labels[:, None, None]
    found = token_probe(network, image, labels, layer="0")
    assert found.grid == (2, 2)
    places = network.module(image).detach().flatten(2).numpy()
    onehot = np.eye(3)[labels]

    def accuracy(rows: np.ndarray, penalty: float) -> float:
        rows = (rows - rows.mean(0)) / rows.std(0)
        right = []
        for left_out in range(30):
            rest = np.arange(30) != left_out
            fitted = Ridge(alpha=penalty).fit(rows[rest], onehot[rest])
            right.append(fitted.predict(rows[[left_out]]).argmax() == labels[left_out].item())
        return float(np.mean(right))

    grid = 30 * np.logspace(-5, 3, 13)
    for place in range(4):
        tried = [accuracy(places[:, :, place], penalty) for penalty in grid]
        assert found.places[place].item() == pytest.approx(
            min(tried, key=lambda a: abs(a - found.places[place].item()))
        )
    tried = [accuracy(places.mean(2), penalty) for penalty in grid]
    assert min(abs(found.pooled.value.item() - each) for each in tried) < 1e-6
    assert found.single.value.item() == pytest.approx(found.places.mean().item())
    assert found.gain.value.item() == pytest.approx(
        found.pooled.value.item() - found.single.value.item()
    )
    # Only the place at the top right shows the class.
    assert found.places.argmax() == 1
    assert found.places[[0, 2, 3]].max() < 0.6 < found.places[1]


def test_class_tokens_are_told_apart_from_places() -> None:
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    network = layerwise.open(module.eval(), example=torch.randn(1, 3, 32, 32))
    image, labels = torch.randn(20, 3, 32, 32), torch.arange(20) % 2
    found = token_probe(network, image, labels)
    assert found.layer == "blocks.1"
    assert found.places.shape == (16,)
    assert found.prefix.shape == (1,)
    assert token_probe(network, image, labels, side=2).places.shape == (4,)


def test_mistakes_are_named() -> None:
    network = layerwise.open(nn.Conv2d(3, 5, 4), example=torch.randn(1, 3, 8, 8))
    image, labels = torch.randn(12, 3, 8, 8), torch.arange(12) % 2
    with pytest.raises(LayerwiseError, match="4 pictures of 2 classes; give at least 8"):
        token_probe(network, image[:4], labels[:4])
    with pytest.raises(LayerwiseError, match="12 pictures of 1 classes"):
        token_probe(network, image, 0 * labels)
    with pytest.raises(LayerwiseError, match="6 labels are negative"):
        token_probe(network, image, labels - 1)


@pytest.mark.weights
@pytest.mark.slow
def test_single_places_know_at_the_end_what_all_know_in_the_middle(
    claim: Callable[..., None],
) -> None:
    network = layerwise.open("efficientnet-lite0")
    samples = layerwise.data.open("photos")
    target = samples.targets["photo"]
    known = target.known.nonzero().flatten()
    measured: dict[str, list[float]] = {}
    for seed in range(3):
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        rows = known[order[:90]]
        image = network.batch([network.prepare(samples.load(int(i))) for i in rows])
        for layer in ("blocks.3.0", "blocks.6.0"):
            found = token_probe(network, image, target.values[rows], layer=layer, side=7)
            measured.setdefault(f"{layer}, single", []).append(found.single.value.item())
            measured.setdefault(f"{layer}, pooled", []).append(found.pooled.value.item())
    middle_single, middle, last_single, last = (torch.tensor(v) for v in measured.values())
    holds = bool(
        (last_single > middle).all() and (last - last_single < middle - middle_single).all()
    )
    claim(
        paper="P219",
        says="EfficientNet-Lite0, 90 pictures of 18 photographs, 3 draws: a single one of 7 x 7 "
        "places of the last stage tells the photograph better than the mean of all places does at "
        "blocks.3.0, and lies less far below the mean of its own layer than there",
        measured={name: float(np.mean(values)) for name, values in measured.items()},
        holds=holds,
    )
    assert (last_single > middle_single).all()
    assert (last - last_single < middle - middle_single).all()
