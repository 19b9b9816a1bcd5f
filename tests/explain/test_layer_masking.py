"""What is hidden has no influence at all, and what is seen is taken for what it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import layerwise
from explained import classifier, photographs
from layerwise.errors import LayerwiseError
from layerwise.explain import covered, layer_masking, occlusion
from layerwise.explain._hide import Hide

Claim = Callable[..., None]


def _patches(image: Tensor, seed: int) -> Tensor:
    """Half of the picture's patches, at random."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(len(image), 1, 8, 8, generator=generator) > 0.5
    return functional.interpolate(rough.to(image.dtype), image.shape[2:])


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "tf_mobilenetv3_small_100"])
def test_hidden_pixels_have_no_influence_and_none_hidden_changes_nothing(name: str) -> None:
    module = timm.create_model(name, num_classes=5).eval()
    network = layerwise.open(module, example=torch.zeros(1, 3, 64, 64))
    image = torch.randn(2, 3, 64, 64)
    plain = layer_masking(network, image)
    whole = layer_masking(network, image, keep=torch.ones(2, 1, 64, 64))
    torch.testing.assert_close(whole, plain, rtol=1e-4, atol=1e-5)
    keep = _patches(image, 0)
    masked = layer_masking(network, image, keep=keep)
    other = torch.where(keep > 0, image, torch.randn_like(image))
    torch.testing.assert_close(layer_masking(network, other, keep=keep), masked, rtol=0, atol=0)
    assert not torch.allclose(masked, plain)


def test_one_convolution_equals_the_mechanism_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = layerwise.open(module, example=torch.zeros(1, 1, 6, 6))
    image, keep = torch.rand(1, 1, 6, 6), torch.ones(1, 1, 6, 6)
    keep[..., 3:] = 0
    filled = image.clone()
    filled[..., 3:] = 0
    # The first hidden column takes the mean of the visible neighbours, the next of that, and so on.
    for column in (3, 4, 5):
        before = functional.pad(filled[..., column - 1], (1, 1))
        count = functional.pad(torch.ones(1, 1, 6), (1, 1))
        sums = before[..., :-2] + before[..., 1:-1] + before[..., 2:]
        filled[..., column] = sums / (count[..., :-2] + count[..., 1:-1] + count[..., 2:])
    seen = module[0](filled)[..., :4].mean((2, 3)).detach()  # a site that saw a visible pixel
    torch.testing.assert_close(layer_masking(network, image, keep=keep), seen)


def test_nothing_seen_is_finite_and_other_networks_are_told() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
    nothing = layer_masking(network, torch.rand(1, 3, 8, 8), keep=torch.zeros(1, 1, 8, 8))
    assert bool(nothing.isfinite().all())
    shuffled = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 3), nn.Flatten())
    network = layerwise.open(shuffled, example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(LayerwiseError, match="no mask is known to follow 'pixel_unshuffle'"):
        layer_masking(network, torch.rand(1, 3, 8, 8), keep=torch.ones(1, 1, 8, 8))


def test_it_hides_for_other_methods() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
    given = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    falls = occlusion(network, *given, window=2, stride=2, hide=layer_masking)
    assert falls.shape == (2, 1, 8, 8)


@pytest.mark.weights
def test_claim_the_class_is_kept_where_half_is_hidden(claim: Claim) -> None:
    network, (image, labels) = classifier(), photographs()
    black = -torch.ones_like(image)  # pixels run from -1 to 1
    ways: dict[str, Hide] = {
        "layer masking": layer_masking,
        "grey": covered,
        "black": lambda *given, **options: covered(*given, **options, cover=black),
    }
    kept = {name: [0.0] * 3 for name in ways}
    spread = 0.0
    for seed in range(3):
        keep = _patches(image, seed)
        said = {name: hide(network, image, keep=keep) for name, hide in ways.items()}
        for name, columns in said.items():
            kept[name][seed] = float((columns.argmax(1) == labels).float().mean())
        noise = torch.where(keep > 0, image, torch.randn_like(image))
        again = layer_masking(network, noise, keep=keep)
        spread = max(spread, float((again - said["layer masking"]).abs().max()))
    means = {f"top-1 kept, {name}": sum(shares) / 3 for name, shares in kept.items()}
    own = means.pop("top-1 kept, layer masking")
    claim(
        paper="P176",
        says="With random halves of 6 photographs hidden (3 seeds), EfficientNet-Lite0 keeps its "
        "top class more often by layer masking than by grey or black patches, and its logits do "
        "not depend on what the hidden pixels hold.",
        measured={"top-1 kept": own, "largest change of a logit": spread, **means},
        holds=own > max(means.values()) and spread <= 1e-5,
    )
    assert spread <= 1e-5
    assert own > max(means.values())
