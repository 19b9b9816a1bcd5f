"""The map between layers, solved from sums, against scikit-learn and numpy."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as Reference
from sklearn.metrics import r2_score

from layerwise.errors import LayerwiseError
from layerwise.features import LinearMap, Moments
from layerwise.features._linear_map import Solver


def _layers(samples: int, *, offset: float = 30.0) -> tuple[torch.Tensor, torch.Tensor]:
    source = offset + torch.randn(samples, 12).double() * torch.logspace(-2, 2, 12).double()
    other = source.sin() @ torch.randn(12, 5).double() + torch.randn(samples, 5) - 70
    return source, other


def _moments(*layers: torch.Tensor, batch: int = 17) -> Moments:
    moments = Moments()
    for x, y in zip(*(layer.split(batch) for layer in layers), strict=True):
        moments.update(x, y)
    return moments


@pytest.mark.parametrize("intercept", [True, False])
def test_least_squares_equals_scikit_learn_and_numpy(intercept: bool) -> None:
    source, other = _layers(80)
    linear = LinearMap.of(_moments(source, other), penalties=(0.0,), intercept=intercept)
    reference = LinearRegression(fit_intercept=intercept).fit(source, other)
    expected = torch.from_numpy(reference.predict(source))
    torch.testing.assert_close(linear(source), expected, rtol=1e-7, atol=1e-6)
    if not intercept:
        weight = np.linalg.lstsq(source.numpy(), other.numpy(), rcond=None)[0]
        np.testing.assert_allclose(linear.weight, weight, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", [0.3, 40.0])
def test_ridge_equals_scikit_learn_on_channels_of_length_one(penalty: float) -> None:
    source, other = _layers(80)
    scaled = (source - source.mean(0)) / source.std(0, correction=0)
    expected = Reference(alpha=penalty).fit(scaled, other).predict(scaled)
    linear = LinearMap.of(_moments(source, other), penalties=(penalty,))
    torch.testing.assert_close(linear(source), torch.from_numpy(expected), rtol=1e-8, atol=1e-8)


def test_batches_and_merged_halves_come_to_the_same_as_all_at_once() -> None:
    source, other = _layers(90)
    whole = LinearMap.fit(source, other)
    halves = _moments(source[:40], other[:40]) + _moments(source[40:], other[40:])
    for moments in (_moments(source, other, batch=1), _moments(source, other), halves):
        torch.testing.assert_close(
            LinearMap.of(moments).weight, whole.weight, rtol=1e-8, atol=1e-10
        )


def test_r2_from_sums_equals_scikit_learns_on_other_samples() -> None:
    source, other = _layers(200)
    linear = LinearMap.fit(source[:120], other[:120])
    expected = r2_score(other[120:], linear(source[120:]), multioutput="raw_values")
    found = linear.r2(_moments(source[120:], other[120:]))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_generalised_cross_validation_equals_the_hat_matrix() -> None:
    source, other = _layers(40)
    solver = Solver.of(_moments(source, other))
    x = (source - source.mean(0)) / source.std(0, correction=0)
    y = other - other.mean(0)
    penalties = torch.tensor([0.5, 20.0]).double()
    expected = []
    for penalty in penalties:
        hat = x @ torch.linalg.solve(x.T @ x + penalty * torch.eye(12), x.T) + 1 / 40
        error = (y - hat @ y).square().sum()
        expected.append(error / (1 - hat.trace() / 40) ** 2)
    torch.testing.assert_close(solver.validation_error(penalties), torch.stack(expected))


def test_noise_is_told_by_a_strong_penalty_and_a_true_map_by_a_weak_one() -> None:
    source = torch.randn(60, 40)
    noise, truth = torch.randn(60, 3), source @ torch.randn(40, 3)
    assert LinearMap.fit(source, noise).penalty > 100 * LinearMap.fit(source, truth).penalty


def test_more_channels_than_samples_and_constant_channels_stay_finite() -> None:
    source = torch.cat([torch.randn(20, 50), torch.full((20, 2), 7.0)], 1)
    other = torch.randn(20, 4)
    for penalties in (None, (0.0,)):
        linear = LinearMap.fit(source, other, penalties=penalties)
        assert linear.weight.isfinite().all()
        assert linear.weight[50:].abs().max() < 1e-6
    # The shortest solution of least squares meets every row.
    torch.testing.assert_close(linear(source), other, rtol=1e-3, atol=1e-3)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    source, other = torch.randn(9, 4), torch.randn(9, 2)
    with pytest.raises(LayerwiseError, match="9 rows in one layer and 8 in the other"):
        LinearMap.fit(source, other[:8])
    with pytest.raises(LayerwiseError, match="1 samples are too few"):
        LinearMap.fit(source[:1], other[:1])
    with pytest.raises(LayerwiseError, match="must be 0 or more"):
        LinearMap.fit(source, other, penalties=(-1.0,))
    with pytest.raises(LayerwiseError, match="NaN or infinity in 1 of 9 rows"):
        LinearMap.fit(torch.where(torch.arange(9)[:, None] == 4, torch.nan, source), other)
    moments = _moments(source, other)
    with pytest.raises(LayerwiseError, match=r"widths \(3, 2\) after \(4, 2\)"):
        moments.update(source[:, :3], other)
