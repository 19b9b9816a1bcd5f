"""A leaderboard ranks on validation, prices honestly, and keeps to its budget."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import layerwise
from layerwise import data
from layerwise.atlas._choose import stand
from layerwise.atlas._leaderboard import leaderboard, prices, rank
from layerwise.atlas._price import Budget, Price
from layerwise.errors import LayerwiseError
from layerwise.measures import probe


@pytest.fixture(scope="module")
def samples() -> data.Samples:
    rows = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    return data.open([(row, {"sign": "+" if row[0] > 0 else "-"}) for row in rows])


def ranked(samples, budget: Budget):
    rows = torch.stack([samples.load(i) for i in range(len(samples))])
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    features = {
        ("cheap", "early", "mean"): noise,
        ("cheap", "late", "mean"): rows + 0.8 * torch.cat([noise, noise[:, :1]], 1),
        ("dear", "late", "mean"): rows,
    }
    target = samples.targets["sign"]
    table = probe(features, target, data.split(samples, target, seed=0), permutations=1)
    generator = torch.Generator().manual_seed(0)
    standing = stand(target, samples.keys, [table], generator)
    cost = {
        ("cheap", "early"): Price(1.0, 0.5, 10, 40),
        ("cheap", "late"): Price(2.0, 1.0, 20, 80),
        ("dear", "late"): Price(30.0, 20.0, 3_000_000, 12_000_000),
    }
    return leaderboard(standing, cost, budget=budget, generator=generator)


def test_the_best_comes_first_and_the_front_holds_what_nobody_beats(samples):
    found = ranked(samples, Budget())
    assert (found[0].network, found[0].layer) == ("dear", "late")
    assert found[0].level
    assert all(each.affordable for each in found)
    validations = [each.validation for each in found]
    assert validations == sorted(validations, reverse=True)
    front = [each for each in found if each.front]
    assert {(each.network, each.layer) for each in front} == {
        ("cheap", "early"),
        ("cheap", "late"),
        ("dear", "late"),
    }
    times = [each.milliseconds[0] for each in front]
    assert times == sorted(times, reverse=True)
    assert not any(each.level for each in found if each.layer == "early")


@pytest.mark.parametrize("budget", [Budget(milliseconds=5.0), Budget(megabytes=1.0)])
def test_a_budget_puts_what_is_too_dear_last(samples, budget):
    found = ranked(samples, budget)
    assert (found[0].network, found[0].layer) == ("cheap", "late")
    assert found[-1].network == "dear"
    assert not found[-1].affordable
    assert not found[-1].level


def test_two_networks_are_read_priced_and_ranked(samples, tmp_path):
    networks = [
        layerwise.open(
            nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 2)).eval(),
            example=torch.zeros(1, 4),
            name=name,
        )
        for name in ("one", "two")
    ]
    cost = prices(networks[0], samples)
    assert cost["one", "0"].parameters == 40
    assert cost["one", "0"].bytes == 160
    assert 0 <= cost["one", "0"].alone <= cost["one", "3"].alone
    found, done = rank(networks, samples, "sign", store=tmp_path, layers="all")
    assert {each.network for each in found} == set(done) == {"one", "two"}
    assert found[0].test > 0.8
    with pytest.raises(LayerwiseError, match="nothing that reads 'sign' is within the budget"):
        rank(networks, samples, "sign", store=tmp_path, layers="all", budget=Budget(0.0))
    with pytest.raises(LayerwiseError, match="each name only once"):
        rank(networks[:1] * 2, samples, "sign", store=tmp_path)
