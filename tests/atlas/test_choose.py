"""The choice is made on validation, reported on test, and says what it cannot tell."""

from __future__ import annotations

import torch

from layerwise.atlas._choose import choose, stand
from layerwise.data import Target
from layerwise.measures import Marks, ProbeTable, Reading

LAYERS = ("early", "middle", "late")
COSTS = {("net", "early"): 1.0, ("net", "middle"): 2.0, ("net", "late"): 4.0}


def table(right: dict[str, tuple[torch.Tensor, torch.Tensor]], start: int) -> ProbeTable:
    """A table in which each layer is right just where it is said to be."""

    def marks(side: int) -> Marks:
        columns = torch.stack([right[layer][side] for layer in LAYERS], 1).long()
        count = len(columns)
        return Marks(torch.arange(start, start + count), torch.ones(count).long(), columns)

    readings = tuple(Reading(("net", layer, "mean"), "linear", 1.0) for layer in LAYERS)
    return ProbeTable("t", "accuracy", readings, marks(0), marks(1), torch.full((5, 3), 0.5))


def share(rate: float, count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)) < rate


def standing(rates: dict[str, tuple[float, float]], count: int = 400, seeds: int = 2):
    tables = [
        table(
            {
                layer: tuple(share(r, count, 10 * i + j + 100 * seed) for j, r in enumerate(rate))
                for i, (layer, rate) in enumerate(rates.items())
            },
            seed * count,
        )
        for seed in range(seeds)
    ]
    target = Target("t", "class", torch.ones(seeds * count).long(), ("a", "b"))
    keys = [str(i) for i in range(seeds * count)]
    return stand(target, keys, tables, torch.Generator().manual_seed(0))


def chosen(found):
    return choose(
        found,
        milliseconds=COSTS,
        last={"net": "late"},
        generator=torch.Generator().manual_seed(0),
    )


def test_validation_chooses_although_test_would_choose_otherwise():
    choice = chosen(standing({"early": (0.5, 0.95), "middle": (0.9, 0.7), "late": (0.6, 0.6)}))
    assert choice.best.layer == "middle"
    assert abs(choice.best.test - 0.7) < 0.05
    assert choice.last.layer == "late"
    assert abs(choice.gain - 0.1) < 0.07
    assert choice.gain_low < choice.gain < choice.gain_high


def test_the_cheapest_layer_that_cannot_be_told_from_the_best():
    choice = chosen(standing({"early": (0.5, 0.5), "middle": (0.9, 0.9), "late": (0.905, 0.9)}))
    assert choice.cheapest.layer == "middle"
    assert choice.saved in (0.0, 0.5)
    assert {layer for _, layer, _, _ in choice.indistinguishable} >= {"middle", "late"}
    assert "early" not in {layer for _, layer, _, _ in choice.indistinguishable}
    assert choice.enough


def test_a_gap_of_more_than_a_standard_error_is_not_as_good():
    """3 of 50 more are wrong: the interval reaches zero, the gap is 1.8 standard errors."""
    every, none = torch.ones(50).bool(), torch.zeros(50).bool()
    some = torch.arange(50) >= 3
    right = {"early": (some, every), "middle": (every, every), "late": (none, none)}
    target = Target("t", "class", torch.ones(50).long(), ("a", "b"))
    keys = [str(i) for i in range(50)]
    choice = chosen(stand(target, keys, [table(right, 0)], torch.Generator().manual_seed(0)))
    assert choice.best.layer == choice.cheapest.layer == "middle"
    assert {layer for _, layer, _, _ in choice.indistinguishable} == {"early", "middle"}


def test_a_combination_must_be_clearly_better_than_one_layer():
    rates = {"early": (0.5, 0.5), "middle": (0.9, 0.9), "late": (0.91, 0.91)}
    found = standing(rates)
    joined = [("net", "late", "mean")]
    options = {"milliseconds": COSTS, "last": {"net": "late"}, "combined": joined}

    def best(standing) -> str:
        generator = torch.Generator().manual_seed(0)
        return choose(standing, generator=generator, **options).best.layer

    assert best(found) == "middle"
    assert best(standing({**rates, "late": (0.97, 0.97)})) == "late"


def test_nothing_dearer_than_the_budget_is_chosen():
    found = standing({"early": (0.5, 0.5), "middle": (0.8, 0.8), "late": (0.95, 0.95)})
    options = {"milliseconds": COSTS, "last": {"net": "late"}}

    def within(affordable):
        generator = torch.Generator().manual_seed(0)
        return choose(found, generator=generator, affordable=affordable, **options)

    free, cheap = within(None), within({("net", "early"), ("net", "middle")})
    assert free.best.layer == "late"
    assert cheap.best.layer == cheap.cheapest.layer == "middle"
    assert {layer for _, layer, _, _ in cheap.indistinguishable} == {"middle"}
    assert cheap.last.layer == "late"
    assert cheap.gain_high < 0


def test_test_refutes_a_cheap_layer_that_validation_could_not_tell():
    choice = chosen(standing({"early": (0.9, 0.6), "middle": (0.9, 0.9), "late": (0.5, 0.5)}))
    assert choice.cheapest == choice.best
    assert choice.saved == 0.0


def test_few_groups_are_too_few_however_many_samples_they_have():
    rates = {"early": (0.5, 0.5), "middle": (0.9, 0.9), "late": (0.6, 0.6)}
    found = standing(rates)
    grouped = Target(
        "t", "class", torch.ones(800).long(), ("a", "b"), tuple(str(i % 4) for i in range(800))
    )
    tables = [
        ProbeTable("t", "accuracy", found.readings, found.validation, found.test, found.permuted)
    ]
    few = stand(grouped, [str(i) for i in range(800)], tables, torch.Generator().manual_seed(0))
    assert chosen(found).enough
    assert not chosen(few).enough


def test_a_sample_tested_by_two_seeds_counts_once():
    right = {layer: (share(0.8, 300, i), share(0.8, 300, 9 + i)) for i, layer in enumerate(LAYERS)}
    once = table(right, 0)
    target = Target("t", "class", torch.ones(300).long(), ("a", "b"))
    keys = [str(i) for i in range(300)]
    single = stand(target, keys, [once], torch.Generator().manual_seed(0)).scores[0]
    double = stand(target, keys, [once, once], torch.Generator().manual_seed(0)).scores[0]
    assert double.test == single.test
    assert abs((double.high - double.low) - (single.high - single.low)) < 0.01
