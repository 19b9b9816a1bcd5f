"""Ridge against scikit-learn, and its leave-one-out against leaving one out."""

from __future__ import annotations

import pickle

import jaxtyping
import pytest
import torch
from sklearn.linear_model import Ridge as Reference
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from layerwise.errors import LayerwiseError
from layerwise.features import Ridge

TALL, WIDE = (60, 12), (25, 90)


def _data(shape: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    n, d = shape
    features = 5 + 3 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    targets = features[:, :3] + torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return features, targets


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_equals_scikit_learn(shape: tuple[int, int]) -> None:
    features, targets = _data(shape)
    fresh = _data(shape, seed=1)[0]
    ridge = Ridge.fit(features, targets)
    scaler = StandardScaler().fit(features)
    predicted = ridge(fresh)
    for i, penalty in enumerate(ridge.penalties.tolist()):
        reference = Reference(alpha=penalty).fit(scaler.transform(features), targets)
        expected = torch.from_numpy(reference.predict(scaler.transform(fresh)))
        torch.testing.assert_close(predicted[i], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_leave_one_out_equals_scikit_learns(shape: tuple[int, int]) -> None:
    features, targets = _data(shape)
    ridge = Ridge.fit(features, targets, scale=False)
    reference = RidgeCV(alphas=ridge.penalties.tolist(), store_cv_results=True)
    squared = torch.from_numpy(reference.fit(features, targets).cv_results_).permute(2, 0, 1)
    torch.testing.assert_close((ridge.loo - targets).square(), squared, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ridge.loo_error, squared.mean(1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_leave_one_out_is_leaving_one_out(shape: tuple[int, int]) -> None:
    features, targets = _data(shape)
    ridge = Ridge.fit(features, targets, penalties=(0.5, 20.0), scale=False)
    rest = torch.arange(len(features)) != 7
    without = Ridge.fit(features[rest], targets[rest], penalties=(0.5, 20.0), scale=False)
    torch.testing.assert_close(ridge.loo[:, 7:8], without(features[7:8]), rtol=1e-8, atol=1e-8)


def test_a_single_precision_fit_is_computed_in_double() -> None:
    features, targets = _data(WIDE)
    double, single = Ridge.fit(features, targets), Ridge.fit(features.float(), targets.float())
    torch.testing.assert_close(single.loo.double(), double.loo, rtol=1e-4, atol=1e-4)


def test_repeated_rows_and_constant_features_stay_finite() -> None:
    features, targets = _data(WIDE)
    features = torch.cat([features, features])
    features[:, 4] = 1e6 / 3
    ridge = Ridge.fit(features, torch.cat([targets, targets]))
    assert ridge.loo.isfinite().all()
    assert ridge.weight[:, 4].abs().max() < 1e-6
    # A copy of the row that is left out remains, so that little error does.
    assert ridge.loo_error[0].max() < 1e-3


def test_a_row_alone_in_its_direction_has_a_finite_answer() -> None:
    ridge = Ridge.fit(torch.eye(2), torch.tensor([0.0, 1.0]), penalties=(1e-12,))
    assert ridge.loo.isfinite().all()


def test_best_penalty_is_the_one_of_least_error() -> None:
    features, targets = _data(TALL)
    ridge = Ridge.fit(features, targets)
    assert ridge.best([1]) == int(ridge.loo_error[:, 1].argmin())
    noise = torch.randn(60, 1, dtype=torch.float64)
    both = Ridge.fit(features, torch.cat([targets, noise], 1))
    assert both.best([3]) > both.best([0, 1, 2])


def test_classes_are_told_by_the_largest_column() -> None:
    labels = torch.arange(90) % 3
    features = torch.eye(3)[labels] + 0.1 * torch.randn(90, 3)
    ridge = Ridge.fit(features, torch.eye(3)[labels])
    assert (ridge.loo[ridge.best()].argmax(1) == labels).all()


def test_linear_is_the_same_readout() -> None:
    features, targets = _data(TALL)
    ridge = Ridge.fit(features, targets)
    torch.testing.assert_close(ridge.linear(5)(features), ridge(features)[5])


def test_pickle_and_state_dict_keep_it() -> None:
    features, targets = _data(TALL)
    ridge, other = Ridge.fit(features, targets), Ridge.fit(*_data(TALL, seed=1))
    other.load_state_dict(ridge.state_dict())
    for again in (other, pickle.loads(pickle.dumps(ridge))):
        assert torch.equal(again(features), ridge(features))
    assert "loo" not in ridge.state_dict()


@pytest.mark.parametrize("rows", [0, 1])
def test_refuses_fewer_than_two_rows(rows: int) -> None:
    features, targets = _data(TALL)
    with pytest.raises(LayerwiseError, match="too few"):
        Ridge.fit(features[:rows], targets[:rows])


def test_refuses_rows_that_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    features, targets = _data(TALL)
    with pytest.raises(LayerwiseError, match="60 rows of features but 3 of targets"):
        Ridge.fit(features, targets[:3])


def test_refuses_nan_and_penalties_that_are_not_positive() -> None:
    features, targets = _data(TALL)
    features[3, 2] = torch.nan
    with pytest.raises(LayerwiseError, match="first in row 3"):
        Ridge.fit(features, targets)
    with pytest.raises(LayerwiseError, match="must be positive"):
        Ridge.fit(targets, targets, penalties=(0.0,))
