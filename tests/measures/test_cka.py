"""CKA against Grams written out in numpy, streamed against whole, and where it is not defined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import layerwise
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.measures import CKA, cka


def _hsic(kernel: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC, equation 5 of Song et al. (2012), with n x n matrices and matrix products."""
    n = len(kernel)
    kernel, other = kernel - np.diag(np.diag(kernel)), other - np.diag(np.diag(other))
    ones = np.ones(n)
    first = np.trace(kernel @ other)
    second = (ones @ kernel @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (ones @ kernel @ other @ ones)
    return (first + second - third) / (n * (n - 3))


def _oracle(layers: list[Tensor], others: list[Tensor], *, unbiased: bool = True) -> Tensor:
    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        if unbiased:
            return _hsic(x @ x.T, y @ y.T)
        x, y = x - x.mean(0), y - y.mean(0)
        return np.sum((x @ x.T) * (y @ y.T))

    rows, columns = ([f.double().numpy() for f in side] for side in (layers, others))
    return torch.tensor(
        [[hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)) for y in columns] for x in rows]
    )


def _layers(*widths: int, samples: int, offset: float = 3.0) -> list[Tensor]:
    """Layers that share some of what they say, far from the origin."""
    source = torch.randn(samples, 6)
    return [
        offset + source @ torch.randn(6, width) + torch.randn(samples, width) for width in widths
    ]


def _streamed(layers: list[Tensor], batch: int, *, unbiased: bool = True) -> Tensor:
    streamed = CKA(unbiased=unbiased)
    for part in zip(*(layer.split(batch) for layer in layers), strict=True):
        streamed.update(part)
    return streamed.result()


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("samples", [5, 60, 300])
def test_equals_the_formula_with_whole_kernels(samples: int, unbiased: bool) -> None:
    layers = [layer.double() for layer in _layers(7, 40, 1, 90, samples=samples)]
    expected = _oracle(layers, layers, unbiased=unbiased)
    torch.testing.assert_close(cka(layers, unbiased=unbiased), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        _streamed(layers, 64, unbiased=unbiased), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("samples", [50, 200])
def test_across_networks_equals_the_formula(samples: int) -> None:
    layers, others = (
        [layer.double() for layer in _layers(*widths, samples=samples)]
        for widths in ((30, 20), (60, 8, 9))
    )
    torch.testing.assert_close(cka(layers, others), _oracle(layers, others), rtol=1e-9, atol=1e-9)


def test_single_precision_is_exact_to_a_millionth() -> None:
    layers = _layers(16, 128, 700, samples=500, offset=50.0)
    exact = _oracle(layers, layers)
    assert (cka(layers) - exact).abs().max() < 1e-6
    assert (_streamed(layers, 100) - exact).abs().max() < 1e-6


def test_streamed_equals_whole_when_the_first_batch_is_not_like_the_rest() -> None:
    layers = [layer.double() for layer in _layers(5, 70, samples=60)]
    order = layers[0][:, 0].argsort()
    drifting = [layer[order] + torch.linspace(0, 20, 60)[:, None] for layer in layers]
    torch.testing.assert_close(_streamed(drifting, 7), cka(drifting), rtol=1e-9, atol=1e-9)


def test_batches_of_one_row_and_of_none_are_batches() -> None:
    layers = _layers(5, 3, samples=12)
    streamed = CKA()
    for row in range(12):
        streamed.update([layer[row : row + 1] for layer in layers])
        streamed.update([layer[:0] for layer in layers])
    torch.testing.assert_close(streamed.result(), _streamed(layers, 12), rtol=1e-9, atol=1e-9)


def test_independent_noise_is_unlike_unless_the_bias_is_let_in() -> None:
    noise = [torch.randn(128, 1280) for _ in range(2)]
    assert cka(noise[0], noise[1]).abs() < 0.05
    assert cka(noise[0], noise[1], unbiased=False) == pytest.approx(0.91, abs=0.01)


def test_negative_values_are_kept() -> None:
    values = torch.cat([cka(torch.randn(10, 40), torch.randn(10, 40)) for _ in range(40)])
    assert (values < 0).any()
    assert values.mean().abs() < 0.15


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
@pytest.mark.parametrize("samples", [20, 90])
def test_a_constant_layer_is_like_nothing(samples: int, value: float) -> None:
    layers = [torch.randn(samples, 30), torch.full((samples, 8), value)]
    for similarity in (cka(layers), _streamed(layers, 16)):
        assert similarity[0, 0] == pytest.approx(1)
        assert similarity[1].isnan().all()
        assert similarity[:, 1].isnan().all()


def test_samples_that_are_all_equally_far_apart_have_no_similarity_either() -> None:
    assert cka(torch.eye(12), torch.randn(12, 3)).isnan().all()


def test_can_be_read_inside_inference_mode_and_with_gradients() -> None:
    layers = [layer.requires_grad_() for layer in _layers(5, 3, samples=12)]
    streamed = CKA()
    with torch.inference_mode():
        streamed.update([layer[:6] * 1 for layer in layers])
    streamed.update([layer[6:] for layer in layers])
    assert not streamed.result().requires_grad
    torch.testing.assert_close(streamed.result(), cka(layers), rtol=1e-6, atol=1e-6)


def test_mistakes_are_named() -> None:
    with pytest.raises(LayerwiseError, match="3 samples; it needs at least 4"):
        cka(torch.randn(3, 2))
    with pytest.raises(LayerwiseError, match="0 samples; it needs at least 4"):
        CKA().result()
    with pytest.raises(LayerwiseError, match="no layers"):
        cka([])
    with pytest.raises(LayerwiseError, match="NaN or infinity in 1 of 9 rows"):
        cka(torch.where(torch.arange(9)[:, None] == 4, torch.nan, torch.randn(9, 2)))
    streamed = CKA()
    streamed.update([torch.randn(5, 2)])
    with pytest.raises(LayerwiseError, match=r"widths \[3\] after layers of \[2\]"):
        streamed.update([torch.randn(5, 3)])


def _pooled(name: str, samples: Samples, rows: Tensor) -> list[Tensor]:
    """The samples in every block of a network, mean-pooled."""
    network = layerwise.open(name)
    layers = [layer.name for layer in network.layers.select("stages")]
    pooled: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for batch in rows.split(24):
        inputs = network.batch([network.prepare(samples.load(int(row))) for row in batch])
        for layer, values in layerwise.read(network, inputs, layers).items():
            places = values if values.ndim == 3 else values.flatten(2).transpose(1, 2)
            pooled[layer].append(places.mean(dim=1))
    return [torch.cat(parts) for parts in pooled.values()]


def _by_distance(similarity: Tensor) -> list[float]:
    """Mean similarity of layers that are near, apart, and at the two ends of a network."""
    depth = torch.linspace(0, 1, len(similarity))
    distance = (depth[:, None] - depth).abs()
    ranges = ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0))
    return [similarity[(distance > low) & (distance <= high)].mean().item() for low, high in ranges]


@pytest.mark.weights
@pytest.mark.slow
def test_layers_grow_unlike_with_depth(claim: Callable[..., None]) -> None:
    samples = layerwise.data.open("photos")
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:72]
    curves, means = {}, {}
    for name in ("dinov2-small", "efficientnet-lite0"):
        layers = _pooled(name, samples, order)
        runs = [cka([layer[part] for layer in layers]) for part in torch.arange(72).split(24)]
        curves[name] = [_by_distance(run) for run in runs]
        means[name] = [run[~torch.eye(len(run), dtype=torch.bool)].mean().item() for run in runs]

    measured = {
        f"{name}, layers {distance}": np.mean([run[i] for run in runs])
        for name, runs in curves.items()
        for i, distance in enumerate(("near", "apart", "at the ends"))
    }
    falls = all(near > apart > end for runs in curves.values() for near, apart, end in runs)
    claim(
        paper="P219",
        says="The farther apart two layers, the less alike, in a transformer and in a CNN, 3 draws",
        measured=measured,
        holds=falls,
    )
    uniform = zip(means["dinov2-small"], means["efficientnet-lite0"], strict=True)
    claim(
        paper="P219",
        says="DINOv2-S is more uniform over its 12 blocks than EfficientNet-Lite0 over its 7 "
        "stages: mean similarity of two layers, mean-pooled, 3 draws of 24 photographs",
        measured={name: np.mean(values) for name, values in means.items()},
        holds=all(transformer > convolutional for transformer, convolutional in uniform),
    )
    assert falls
