"""Many comparisons at once: how often they are wrong together, and what they still find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import bootstrap_mean, holm, max_t


def _layers(samples: int, count: int, *, shared: float = 0.7) -> Tensor:
    """Scores of layers that agree on what is hard, all of the same mean."""
    return shared * torch.randn(samples, 1) + torch.randn(samples, count)


@pytest.mark.parametrize("samples", [30, 200])
def test_no_layer_is_said_to_differ_more_often_than_said(samples: int) -> None:
    wrong, alone = [], []
    for _ in range(150):
        scores = _layers(samples, 12)
        found = max_t(scores, reference=0, repeats=400)
        wrong.append(bool(found.sure.any()))
        each = bootstrap_mean(scores, other=scores[:, :1].expand_as(scores), repeats=400)
        alone.append(bool(((each.low > 0) | (each.high < 0)).any()))
    assert np.mean(wrong) <= 0.09
    assert np.mean(alone) > 0.2, "without the correction it happens often"


def test_intervals_hold_all_true_differences_together() -> None:
    truth = torch.linspace(0, 1, 8)
    held = []
    for _ in range(150):
        found = max_t(_layers(80, 8) + truth, reference=0, repeats=400).interval
        held.append(bool(((found.low <= truth) & (truth <= found.high)).all()))
    assert 0.9 <= np.mean(held) <= 0.995


def test_a_true_difference_is_found_and_layers_alike_cost_little() -> None:
    scores = _layers(150, 10)
    scores[:, 4] += 0.6
    copies = torch.cat(
        [scores, *(scores[:, [1]] + 0.01 * torch.randn(150, 1) for _ in range(60))], 1
    )
    assert max_t(scores, reference=0).sure.nonzero().flatten().tolist() == [4]
    few, many = (max_t(x, reference=0).interval for x in (scores, copies))
    widths = [(each.high - each.low)[4].item() for each in (few, many)]
    assert widths[1] < 1.05 * widths[0], "sixty copies of one layer are no sixty comparisons"


def test_stepping_down_never_raises_what_it_says_of_the_largest() -> None:
    found = max_t(_layers(60, 9) + torch.linspace(0, 1.2, 9), reference=0)
    order = found.interval.value.abs().argsort(descending=True)
    assert found.p[0] == 1, "the reference does not differ from itself"
    assert found.p[order[0]] <= found.p[order[3]]
    assert ((found.interval.low > 0) <= found.sure).all()


def test_groups_are_drawn_together() -> None:
    scores = _layers(20, 3).repeat_interleave(10, 0)
    groups = torch.arange(20).repeat_interleave(10)
    alone, together = max_t(scores, reference=0), max_t(scores, reference=0, groups=groups)
    assert (together.interval.high - together.interval.low)[1] > 2 * (
        alone.interval.high - alone.interval.low
    )[1]


def test_a_difference_without_scatter_is_sure() -> None:
    scores = torch.zeros(10, 3)
    scores[:, 1] = 1
    found = max_t(scores, reference=0)
    assert found.sure.tolist() == [False, True, False]
    assert found.interval.low.tolist() == [0, 1, 0]


def test_holm_equals_its_definition() -> None:
    p = torch.rand(15).double() ** 3
    order = np.argsort(p.numpy())
    expected, highest = np.zeros(15), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (15 - rank) * p[index].item()))
        expected[index] = highest
    np.testing.assert_allclose(holm(p).numpy(), expected)
    assert holm(torch.zeros(0)).shape == (0,)


def test_mistakes_are_named() -> None:
    with pytest.raises(LayerwiseError, match="reference=3 of 3 columns"):
        max_t(torch.randn(9, 3), reference=3)
    with pytest.raises(LayerwiseError, match="give probabilities from 0 to 1"):
        holm(torch.tensor([0.1, 1.2]))
    with pytest.raises(LayerwiseError, match="NaN"):
        max_t(torch.full((4, 2), torch.nan), reference=0)
