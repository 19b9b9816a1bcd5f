"""Complexity against scikit-learn's ridge regression, and of the features of a real network."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import Tensor

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import feature_complexity, feature_importance
from layerwise.models import ImagePreparation
from layerwise.taps import pool


def test_what_can_be_read_equals_ridge_regression_fitted_without_each_sample() -> None:
    from sklearn.linear_model import Ridge

    n = 24
    layers = {"a": torch.randn(n, 3).double(), "b": torch.randn(n, 60).double()}
    targets = torch.stack([layers["a"][:, 0], layers["b"][:, :3].sum(1) ** 2], 1)
    found = feature_complexity(layers, targets)
    y, folds = targets.numpy(), [np.arange(n) != left_out for left_out in range(n)]
    blind = np.concatenate([y[fold].mean(0) - y[~fold] for fold in folds])
    for row, layer in enumerate(layers.values()):
        x = ((layer - layer.mean(0)) / layer.std(0, correction=0)).numpy()
        r2 = []
        for alpha in n * np.logspace(-5, 3, 13):
            ridge = Ridge(alpha=alpha)
            left = [ridge.fit(x[fold], y[fold]).predict(x[~fold]) - y[~fold] for fold in folds]
            r2.append(1 - np.square(np.concatenate(left)).sum(0) / np.square(blind).sum(0))
        np.testing.assert_allclose(found.readable[row].numpy(), np.max(r2, 0), atol=1e-9)
    expected = 1 - found.readable.clamp(min=0).mean(0)
    torch.testing.assert_close(found.complexity.value, expected)


def test_targets_are_solved_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, targets = {"a": torch.randn(30, 5)}, torch.randn(30, 7)
    whole = feature_complexity(layers, targets)
    monkeypatch.setattr("layerwise.measures._feature_complexity._NUMBERS", 800)
    torch.testing.assert_close(feature_complexity(layers, targets).readable, whole.readable)
    alone = feature_complexity(layers, targets[:, 3])
    torch.testing.assert_close(alone.readable, whole.readable[:, 3])
    assert alone.complexity.value.shape == ()


def test_what_all_layers_tell_is_simple_and_noise_is_complex() -> None:
    layers = {f"{i}": torch.randn(200, 6) for i in range(4)}
    shared = torch.randn(200)
    layers = {name: torch.cat([layer, shared[:, None]], 1) for name, layer in layers.items()}
    found = feature_complexity(layers, torch.stack([shared, torch.randn(200)], 1)).complexity
    assert found.value[0] < 0.001
    assert found.value[1] > 0.97
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()


def test_importance_is_code_times_gradient() -> None:
    codes, atoms, head = torch.rand(12, 5), torch.randn(5, 7), torch.randn(3, 7)
    labels = torch.arange(12) % 3
    leaf = codes.clone().requires_grad_()
    logits = leaf @ atoms @ head.T
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), leaf)
    expected = (codes * gradient).abs().mean(0)
    torch.testing.assert_close(feature_importance(codes, atoms, head, labels), expected)


def test_mistakes_are_named() -> None:
    layers, targets = {"a": torch.randn(20, 3)}, torch.randn(20)
    with pytest.raises(LayerwiseError, match="no layers to read from"):
        feature_complexity({}, targets)
    with pytest.raises(LayerwiseError, match="target 0 does not vary"):
        feature_complexity(layers, torch.full((20,), 0.1))
    with pytest.raises(LayerwiseError, match=r"layers of \[20\] samples and 19 targets"):
        unwrap(feature_complexity)(layers, targets[1:])
    with pytest.raises(LayerwiseError, match="targets hold NaN"):
        feature_complexity(layers, targets.where(targets != targets[3], torch.nan))


@pytest.fixture(scope="module")
def read() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Pooled stages of EfficientNet-Lite0 on small crops, how red they are, and its head."""
    network = layerwise.open("efficientnet-lite0")
    samples = layerwise.data.open("photos", limit=260)
    small = ImagePreparation(112, (112, 112), "bicubic", network.prepare.mean, network.prepare.std)
    parts: list[dict[str, Tensor]] = []
    reds = []
    names = [layer.name for layer in network.layers.select("stages")] + ["bn2"]
    for rows in torch.arange(len(samples)).split(40):
        inputs = torch.stack([small(samples.load(int(row))) for row in rows])
        reds.append((inputs[:, 0] - inputs.mean(1)).mean((1, 2)))
        found = pool(network, inputs, names, [layerwise.features.Mean()])
        parts.append({name: found[name, "mean"] for name in names})
    layers = {name: torch.cat([part[name] for part in parts]) for name in names}
    return layers, torch.cat(reds), network.module.classifier.weight.detach()


@pytest.mark.weights
@pytest.mark.slow
def test_features_are_read_later_than_colour_and_before_noise(
    read: tuple[dict[str, Tensor], Tensor, Tensor], claim: Callable[..., None]
) -> None:
    from scipy.stats import spearmanr
    from sklearn.decomposition import NMF

    layers, red, head = read
    rises, atoms, reds, permuted, together = [], [], [], [], []
    for seed in range(3):
        rows = torch.randperm(len(red), generator=torch.Generator().manual_seed(seed))[:200]
        drawn = {name: layer[rows] for name, layer in layers.items()}
        last = drawn["bn2"].clamp(min=0)
        nmf = NMF(20, init="nndsvda", random_state=seed, max_iter=150, tol=1e-2)
        codes = torch.from_numpy(nmf.fit_transform(last.numpy()))
        dictionary = torch.from_numpy(nmf.components_)
        noise = codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))]
        targets = torch.cat([codes, red[rows, None], noise], 1)
        found = feature_complexity(drawn, targets, repeats=50)
        rises.append((found.readable[-1, :20] - found.readable[0, :20]).mean().item())
        complexity = found.complexity.value
        atoms.append(complexity[:20].median().item())
        reds.append(complexity[20].item())
        permuted.append(complexity[21:].median().item())
        answers = (last @ head.T).argmax(1)
        importance = feature_importance(codes, dictionary, head, answers)
        together.append(spearmanr(complexity[:20], importance).statistic)
    rises_all = min(rises) > 0.3
    simple = all(red < atom for red, atom in zip(reds, atoms, strict=True))
    claim(
        paper="P079",
        says="EfficientNet-Lite0 on 3 draws of 200 crops, 20 NMF atoms of its last features: R2 "
        "rises by over 0.3 from the first stage to the last layer, the redness of a crop is less "
        "complex than the median atom, and permuted atoms are of complexity about 1",
        measured={
            "rise of R2": np.mean(rises),
            "complexity, median atom": np.mean(atoms),
            "complexity, redness": np.mean(reds),
            "complexity, permuted": np.mean(permuted),
        },
        holds=rises_all and simple and min(permuted) > 0.95,
    )
    claim(
        paper="P079",
        says="The more complex an atom, the less it contributes to the answer: rank correlation of "
        "complexity and importance below 0 in each of 3 draws",
        measured={"Spearman": np.mean(together), "largest of 3": max(together)},
        holds=max(together) < 0,
    )
    assert rises_all
    assert simple
    assert min(permuted) > 0.95
