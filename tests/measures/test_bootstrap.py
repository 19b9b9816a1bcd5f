"""Intervals that hold the truth as often as they say, and what they say in small cases."""

from __future__ import annotations

from inspect import unwrap

import pytest
import torch
from scipy import stats
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import Interval, bootstrap_mean, bootstrap_r2
from layerwise.measures._bootstrap import student


def _share_that_holds(interval: Interval, truth: float) -> float:
    return ((interval.low <= truth) & (truth <= interval.high)).double().mean().item()


@pytest.mark.parametrize("samples", [20, 150])
def test_a_mean_is_held_as_often_as_said(samples: int) -> None:
    right = (torch.rand(samples, 400) < 0.7).double()
    assert 0.90 <= _share_that_holds(bootstrap_mean(right), 0.7) <= 0.98


def _clustered(groups: int, each: int) -> tuple[Tensor, Tensor]:
    """Scores of mean 0 that groups share in part, in groups of unequal size; 400 columns."""
    sizes = torch.randint(1, 2 * each, (groups,))
    index = torch.arange(groups).repeat_interleave(sizes)
    return torch.randn(groups, 400)[index] + torch.randn(len(index), 400), index


@pytest.mark.parametrize("groups", [12, 40])
def test_the_mean_of_clustered_samples_is_held_too(groups: int) -> None:
    scores, index = _clustered(groups, 8)
    assert 0.90 <= _share_that_holds(bootstrap_mean(scores, groups=index), 0.0) <= 0.98
    assert _share_that_holds(bootstrap_mean(scores), 0.0) < 0.8, "the groups matter here"


def test_r2_is_held_as_often_as_said() -> None:
    signal, noise = torch.randn(150, 300), torch.randn(150, 300)
    held = [
        _share_that_holds(
            bootstrap_r2(signal[:, i], signal[:, i] + 0.5 * noise[:, i], repeats=500), 0.8
        )
        for i in range(300)
    ]
    assert 0.90 <= sum(held) / 300 <= 0.98


def test_a_paired_difference_in_r2_is_held_as_often_as_said() -> None:
    held = []
    for _ in range(300):
        a, b, noise = torch.randn(3, 150)
        targets = a + b + noise  # variance 3: a + b tells 2 / 3 of it, a alone 1 / 3
        held.append(_share_that_holds(bootstrap_r2(a + b, targets, other=a, repeats=500), 1 / 3))
    assert 0.90 <= sum(held) / 300 <= 0.98


def test_values_are_the_plain_scores() -> None:
    predictions, targets = torch.randn(30, 4).double(), torch.randn(30).double()
    r2 = (
        1
        - (predictions - targets[:, None]).square().sum(0)
        / (targets - targets.mean()).square().sum()
    )
    torch.testing.assert_close(bootstrap_r2(predictions, targets).value, r2)
    torch.testing.assert_close(bootstrap_mean(predictions).value, predictions.mean(0))
    difference = bootstrap_r2(predictions[:, 0], targets, other=predictions[:, 1]).value
    torch.testing.assert_close(difference, r2[0] - r2[1])


def test_pairing_makes_the_difference_of_like_scores_sure() -> None:
    scores = (torch.rand(200) < 0.6).double()
    better = scores.clone()
    better[:20] = 1
    paired = bootstrap_mean(better, other=scores)
    alone = bootstrap_mean(better)
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert bootstrap_mean(scores, other=scores).high == 0


def test_one_draw_serves_every_column() -> None:
    scores = torch.randn(50, 3)
    together = bootstrap_mean(scores)
    for column in range(3):
        alone = bootstrap_mean(scores[:, column])
        torch.testing.assert_close(together.low[column], alone.low)
        assert alone.high.ndim == 0


def test_the_generator_decides_and_the_global_state_stays() -> None:
    scores = torch.randn(40)
    state = torch.get_rng_state()
    same = [bootstrap_mean(scores, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert same[0] == same[1]
    assert bootstrap_mean(scores).low != same[0].low
    assert torch.equal(torch.get_rng_state(), state)


def test_groups_may_be_names() -> None:
    scores = torch.randn(6)
    named = bootstrap_mean(scores, groups=("a", "b", "a", "c", "c", "b"))
    numbered = bootstrap_mean(scores, groups=torch.tensor([0, 1, 0, 2, 2, 1]))
    assert named == numbered


@pytest.mark.parametrize("freedom", [3, 10, 100])
def test_students_quantile_is_that_of_scipy(freedom: int) -> None:
    assert student(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_mistakes_are_named() -> None:
    with pytest.raises(LayerwiseError, match="1 samples; it needs at least 2"):
        bootstrap_mean(torch.ones(1))
    with pytest.raises(LayerwiseError, match="1 groups; it needs at least 2"):
        bootstrap_mean(torch.ones(4), groups=["a"] * 4)
    with pytest.raises(LayerwiseError, match="3 groups for 4 samples"):
        bootstrap_mean(torch.ones(4), groups=["a", "b", "c"])
    with pytest.raises(LayerwiseError, match=r"shape \(4,\) beside \(1,\)"):
        unwrap(bootstrap_r2)(torch.ones(1), torch.ones(4))  # shapes are checked in tests only
    with pytest.raises(LayerwiseError, match="NaN"):
        bootstrap_mean(torch.tensor([1.0, torch.nan]))
    with pytest.raises(LayerwiseError, match="between 0 and 1"):
        bootstrap_mean(torch.randn(9), level=95.0)
