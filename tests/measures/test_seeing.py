"""Attention distance, receptive field, skips and localisation against cases with known answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import (
    attention_distance,
    cka,
    localisation,
    receptive_field,
    skip_deletion,
    skip_dominance,
)
from layerwise.models import Network


@pytest.fixture(scope="module")
def vit() -> Network:
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    return layerwise.open(module.eval(), example=torch.randn(1, 3, 32, 32))


def test_heads_that_look_at_one_place_are_as_far_as_it_lies(vit: Network) -> None:
    found = attention_distance(vit, torch.randn(3, 3, 32, 32))
    assert found.unit == "pixels"
    assert [heads.shape for heads in found.distance] == [(2,), (2,)]
    # With random weights attention is nearly even: the mean distance of two of 4 x 4 patches.
    rows, columns = np.mgrid[:4, :4].reshape(2, -1) * 8.0
    even = np.hypot(rows[:, None] - rows, columns[:, None] - columns).mean()
    assert found.mean.numpy() == pytest.approx(even, rel=0.1)
    weights = []
    layerwise.taps.attention(vit, vit.example, lambda _, value: weights.append(value))
    one = attention_distance(vit, vit.example)
    places = weights[0][0, 1, 1:, 1:].numpy()
    written = (places * np.hypot(rows[:, None] - rows, columns[:, None] - columns)).sum(1)
    assert one.distance[0][1].item() == pytest.approx((written / places.sum(1)).mean(), rel=1e-5)


def test_texts_are_measured_in_tokens_and_padding_does_not_count() -> None:
    from layerwise.vocabulary import examples

    given = examples(layerwise.taps.logit_lens)
    network, ids = given["language_model"], given["token_ids"]
    short = attention_distance(network, {"input_ids": ids[:, :3]})
    assert short.unit == "tokens"
    mask = torch.ones_like(ids)
    mask[:, 3:] = 0
    padded = attention_distance(network, {"input_ids": ids, "attention_mask": mask})
    torch.testing.assert_close(padded.mean, short.mean)


def test_pictures_of_another_size_and_windows_are_refused(vit: Network) -> None:
    swin = timm.models.SwinTransformer(
        img_size=32, patch_size=4, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4
    )
    network = layerwise.open(swin.eval(), example=torch.randn(1, 3, 32, 32))
    with pytest.raises(LayerwiseError, match="does not lead from every place to every place"):
        attention_distance(network, torch.randn(2, 3, 32, 32))
    with pytest.raises(LayerwiseError, match="no samples"):
        attention_distance(vit, torch.randn(0, 3, 32, 32))


def _convolutions(*strides: int) -> Network:
    layers = [
        nn.Conv2d(3 if i == 0 else 4, 4, 3, stride=s, padding=1) for i, s in enumerate(strides)
    ]
    return layerwise.open(nn.Sequential(*layers).eval(), example=torch.zeros(1, 3, 32, 32))


def test_the_field_of_convolutions_is_their_theoretical_one() -> None:
    field = receptive_field(_convolutions(1, 1, 2), torch.randn(4, 3, 32, 32), layers="0, 1, 2")
    assert field.maps.sum((1, 2)).tolist() == pytest.approx([1, 1, 1])
    sides = [(each.sum(0) > 0).sum().item() for each in field.maps]
    assert sides == [3, 5, 7]
    assert field.radius[0] < field.radius[1] < field.radius[2]


def test_the_field_is_the_squared_jacobian() -> None:
    network = _convolutions(1)
    image = torch.randn(400, 3, 32, 32)
    field = receptive_field(network, image, layers="0")
    weight = network.module[0].weight.detach().square().sum((0, 1))
    torch.testing.assert_close(
        field.maps[0][15:18, 15:18], weight / weight.sum(), rtol=0.15, atol=0.01
    )
    spot = (weight / weight.sum() * torch.tensor([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]])).sum().sqrt()
    assert field.radius[0].item() == pytest.approx(spot.item(), rel=0.05)


def test_a_transformer_may_look_everywhere_and_its_weights_are_left_alone(vit: Network) -> None:
    field = receptive_field(vit, torch.randn(2, 3, 32, 32))
    assert bool((field.maps[1] > 0).all())
    assert all(p.grad is None and p.requires_grad for p in vit.module.parameters())


class Half(nn.Module):
    """Adds half of what flows in to it."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6, bias=False)
        self.two = nn.Linear(6, 6, bias=False)
        nn.init.eye_(self.one.weight)
        self.two.weight.data.copy_(0.5 * torch.eye(6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x))


def test_a_branch_of_half_the_length_is_dominated_twofold() -> None:
    module = nn.Sequential(nn.Linear(6, 6), Half(), Half()).eval()
    network = layerwise.open(module, example=torch.randn(1, 6))
    inputs = torch.randn(20, 6)
    found = skip_dominance(network, inputs)
    assert found.layers == ("1", "1", "2", "2")
    assert set(found.parts) == {"other", "whole"}
    torch.testing.assert_close(found.places, torch.full((4,), 2.0))
    torch.testing.assert_close(found.prefix, found.places)
    names, alike = skip_deletion(network, inputs)
    assert names == ("1", "2")
    assert alike.tolist() == pytest.approx([1, 1])  # a third as long, in the same directions


def test_class_token_and_places_are_told_apart_and_parts_named(vit: Network) -> None:
    found = skip_dominance(vit, torch.randn(5, 3, 32, 32))
    assert found.parts == 2 * ("attention", "mlp", "whole")
    assert bool((found.places != found.prefix).all())
    _, alike = skip_deletion(vit, torch.randn(8, 3, 32, 32))
    assert bool((alike < 1).all())


class Everywhere(nn.Module):
    """Says the same at all places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True).expand_as(x)


def test_a_layer_of_single_pixels_finds_every_place_and_a_pooled_one_none() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Everywhere())
    network = layerwise.open(module.eval(), example=torch.randn(1, 3, 16, 16))
    image = torch.rand(60, 3, 16, 16)
    sharp = localisation(network, image, layer="0")
    assert sharp.grid == (4, 4)
    assert sharp.found == 1
    assert sharp.distance == 0
    assert localisation(network, image, layer="0", side=2).grid == (2, 2)
    blurred = localisation(network, image, layer="1")
    assert blurred.found < 0.2
    one = cka(network.module[0](image)[:, :, 1, 2].detach(), image[:, :, 4:8, 8:12].flatten(1))
    assert sharp.similarity[6, 6].item() == pytest.approx(one.item(), abs=0.1)


def test_mistakes_are_named(vit: Network) -> None:
    with pytest.raises(LayerwiseError, match="picks 4 layers"):
        localisation(vit, torch.rand(5, 3, 32, 32), layer="blocks")
    with pytest.raises(LayerwiseError, match="3 samples; it needs at least 4"):
        localisation(vit, torch.rand(3, 3, 32, 32))
    with pytest.raises(LayerwiseError, match="has places"):
        receptive_field(vit, torch.rand(2, 3, 32, 32), layers="head")


@pytest.fixture(scope="module")
def photographs() -> Callable[[Network, int, int], Tensor]:
    samples = layerwise.data.open("photos")

    def drawn(network: Network, count: int, seed: int) -> Tensor:
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
        return network.batch([network.prepare(samples.load(int(i))) for i in order[:count]])

    return drawn


@pytest.mark.weights
@pytest.mark.slow
def test_early_heads_differ_more_than_late_ones(
    photographs: Callable[[Network, int, int], Tensor], claim: Callable[..., None]
) -> None:
    network = layerwise.open("dinov2-small")
    spread = []
    for seed in range(3):
        found = attention_distance(network, photographs(network, 6, seed))
        spread.append(torch.stack([found.spread[:4].mean(), found.spread[-4:].mean()]))
    early, late = torch.stack(spread).T
    holds = bool((early > late).all())
    claim(
        paper="P219",
        says="In DINOv2-S the distances of the heads differ more within the first four blocks, "
        "where local and global heads stand together, than within the last four (deviation over "
        "heads, pixels of 224), 3 draws of 6 photographs",
        measured={"first four": early.mean().item(), "last four": late.mean().item()},
        holds=holds,
    )
    assert holds


@pytest.mark.weights
@pytest.mark.slow
def test_places_stay_where_they_are_in_a_transformer(
    photographs: Callable[[Network, int, int], Tensor], claim: Callable[..., None]
) -> None:
    network = layerwise.open("dinov2-small")
    image = photographs(network, 96, 0)
    found = {}
    for layer in ("encoder.layer.4", "encoder.layer.11"):
        draws = [
            localisation(network, image[part], layer=layer) for part in torch.arange(96).split(32)
        ]
        found[layer] = [float(each.found) for each in draws]
    claim(
        paper="P219",
        says="Places of DINOv2-S are most like the patch beneath them, out of 256, in most cases: "
        "at block 5 and still in the last one, 3 draws of 32 photographs (chance 0.004)",
        measured={name: float(np.mean(values)) for name, values in found.items()},
        holds=all(value > 0.5 for values in found.values() for value in values),
    )
    # In the last block of these weights they are not: 0.01 of 256 places, over 120 pictures too.
    assert all(value > 0.5 for value in found["encoder.layer.4"])
