"""Splits: nothing shared, nothing lost, shares kept; given sides win."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import networkx
import pytest
import torch
from hypothesis import given

from layerwise.data import Samples, Target, few_shot, split
from layerwise.data._deal import deal, units_of
from layerwise.data._keys import content, numbered
from layerwise.data._text import AsGiven
from layerwise.errors import LayerwiseError


def made(target, contents=None, sides=None):
    n = len(target.values)
    contents = contents or [str(i) for i in range(n)]
    return Samples(
        modality="text",
        source="made",
        names=tuple(f"item {i}" for i in range(n)),
        keys=numbered(contents),
        items=tuple(contents),
        loader=AsGiven(),
        targets={target.name: target},
        split=None if sides is None else tuple(sides),
    )


def labels(values, groups=None):
    classes = tuple(f"class {i}" for i in range(max(values) + 1))
    groups = None if groups is None else tuple(map(str, groups))
    return Target("label", "class", torch.tensor(values), classes, groups)


def numbers(values, groups=None):
    return Target("size", "number", torch.tensor(values, dtype=torch.float64), (), groups)


def sides(parts):
    return [part.tolist() for part in (parts.train, parts.validation, parts.test)]


worlds = st.integers(12, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 15), min_size=n, max_size=n),
        st.lists(st.integers(0, 40), min_size=n, max_size=n),
        st.booleans(),
        st.integers(0, 5),
    )
)


def enough(target):
    """Whether two classes, or the numbers, have three units that share nothing, at the least."""
    known = target.known.nonzero().flatten().tolist()
    if target.kind == "number":
        return len({target.groups[row] for row in known}) > 10
    units = {(target.groups[row], int(target.values[row])) for row in known}
    counts = [sum(value == stratum for _, value in units) for stratum in range(4)]
    return sum(count > 10 for count in counts) > 1


@given(worlds)
def test_every_known_sample_stands_once_and_units_stay_together(world):
    values, groups, contents, number, seed = world
    if number:
        floats = [float("nan") if value < 0 else float(value) for value in values]
        target = numbers(floats, tuple(map(str, groups)))
    else:
        target = labels([*values[:-1], 3], groups)
    samples = made(target, [f"{group} {c}" for group, c in zip(groups, contents, strict=True)])
    hypothesis.assume(enough(target))
    parts = split(samples, target.name, seed=seed)
    everything = [row for side in sides(parts) for row in side] + parts.left_out.tolist()
    assert sorted(everything) == target.known.nonzero().flatten().tolist()
    assert sides(split(samples, target, seed=seed)) == sides(parts)
    for marks in (target.groups, [content(key) for key in samples.keys]):
        on = [{marks[row] for row in side} for side in sides(parts)]
        assert not on[0] & on[1]
        assert not on[0] & on[2]
        assert not on[1] & on[2]
    assert bool(parts.left_out.numel()) == bool(parts.notes)


@given(worlds)
def test_groups_and_copies_that_hang_together_are_one_unit(world):
    values, groups, contents, _, seed = world
    target = labels([*(v % 2 for v in values[:-1]), 1], groups)
    samples = made(target, [str(content) for content in contents])
    graph = networkx.Graph()
    for row in range(len(values)):
        graph.add_edge(f"row {row}", f"group {groups[row]}")
        graph.add_edge(f"row {row}", f"content {contents[row]}")
    expected = sorted(
        sorted(int(node[4:]) for node in part if node.startswith("row "))
        for part in networkx.connected_components(graph)
    )
    rows = list(range(len(values)))
    assert sorted(map(sorted, units_of(target, samples.keys, rows))) == expected
    assert len(deal(expected, dict.fromkeys(rows, 0), (0.5, 0.5), seed)) == 2


@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), st.integers(0, 9))
def test_without_groups_every_class_keeps_its_share_to_one_sample(counts, seed):
    values = [stratum for stratum, count in enumerate(counts) for _ in range(count)]
    parts = split(made(labels(values)), "label", seed=seed)
    for stratum, count in enumerate(counts):
        got = [sum(values[row] == stratum for row in side) for side in sides(parts)]
        assert min(got) >= 1
        assert all(
            abs(g - share * count) <= 1.2 for g, share in zip(got, (0.6, 0.2, 0.2), strict=True)
        )


def test_another_seed_gives_another_split():
    samples = made(labels([i % 2 for i in range(40)]))
    assert sides(split(samples, "label", seed=0)) != sides(split(samples, "label", seed=1))


def test_numbers_are_spread_by_quantile():
    values = torch.rand(300, generator=torch.Generator().manual_seed(0)) ** 4
    parts = split(made(numbers(values.tolist())), "size", seed=0)
    for side, share in zip(sides(parts), (0.6, 0.2, 0.2), strict=True):
        assert abs(len(side) - share * 300) <= 3
        upper = (values[side] > values.median()).float().mean()
        assert abs(upper - 0.5) < 0.05


def test_fractions_are_kept_and_checked():
    samples = made(labels([i % 2 for i in range(100)]))
    parts = split(samples, "label", seed=0, fractions=(0.8, 0.1, 0.1))
    assert [len(side) for side in sides(parts)] == [80, 10, 10]
    with pytest.raises(LayerwiseError, match="three positive shares"):
        split(samples, "label", seed=0, fractions=(0.9, 0.2, 0.2))


def test_copies_of_one_sample_stay_on_one_side():
    samples = made(labels([i % 2 for i in range(60)]), [str(i // 4) for i in range(60)])
    on = [{row // 4 for row in side} for side in sides(split(samples, "label", seed=3))]
    assert sum(map(len, on)) == 15


def test_small_classes_are_left_out_with_a_note():
    values = [0] * 10 + [1] * 10 + [2] * 2
    parts = split(made(labels(values)), "label", seed=0)
    assert parts.left_out.tolist() == [20, 21]
    assert parts.notes == (
        "2 samples of 1 classes of 'label' are left out, fewer than 3 samples each: class 2",
    )


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (labels([0] * 9), "one class only, 'class 0'"),
        (labels(list(range(9))), "9 classes, but 0 with 3 or more samples"),
        (labels([0, 1] * 9, [v % 2 for v in range(18)]), "0 with 3 or more groups"),
        (numbers([1.0, 2.0]), "a value in 2 samples"),
        (numbers([float("nan")] * 5), "a value in 0 samples"),
    ],
)
def test_too_little_to_divide_is_one_clear_line(target, says):
    with pytest.raises(LayerwiseError, match=says):
        split(made(target), target.name, seed=0)


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(LayerwiseError, match="no target is called 'lable'; nearest: label"):
        split(made(labels([0, 1] * 5)), "lable", seed=0)


def test_given_sides_win_and_validation_comes_from_training():
    given_sides = ["train"] * 40 + ["test"] * 20
    samples = made(labels([i % 4 for i in range(60)]), sides=given_sides)
    parts = split(samples, "label", seed=0)
    assert parts.test.tolist() == list(range(40, 60))
    assert sorted(sides(parts)[0] + sides(parts)[1]) == list(range(40))
    assert len(parts.validation) == 10
    assert (torch.tensor([i % 4 for i in range(60)])[parts.validation].bincount() >= 2).all()
    assert split(samples, "label", seed=1).test.equal(parts.test)
    assert not split(samples, "label", seed=1).validation.equal(parts.validation)


def test_all_three_sides_given_leave_nothing_to_the_seed():
    words = ["train", "train", "validation", "test"] * 5
    samples = made(labels([i // 10 for i in range(20)]), sides=words)
    for seed in range(2):
        parts = split(samples, "label", seed=seed)
        assert parts.validation.tolist() == [i for i in range(20) if words[i] == "validation"]


def test_a_given_validation_without_a_test_is_the_test():
    samples = made(labels([i % 2 for i in range(30)]), sides=["train"] * 20 + ["validation"] * 10)
    parts = split(samples, "label", seed=0)
    assert parts.test.tolist() == list(range(20, 30))
    assert len(parts.validation) == 5


def test_copies_of_a_given_test_sample_leave_training():
    contents = [str(i) for i in range(20)] + ["3", "20", "21", "22"]
    samples = made(labels([i % 2 for i in range(24)]), contents, ["train"] * 20 + ["test"] * 4)
    parts = split(samples, "label", seed=0)
    assert parts.left_out.tolist() == [3]
    assert any("equal a held-out sample" in note for note in parts.notes)


def test_groups_stay_together_when_validation_is_taken():
    target = labels([i % 2 for i in range(48)], [i // 4 for i in range(48)])
    samples = made(target, sides=["train"] * 40 + ["test"] * 8)
    parts = split(samples, "label", seed=0)
    assert not {i // 4 for i in sides(parts)[0]} & {i // 4 for i in sides(parts)[1]}


def test_a_given_split_without_training_samples_is_an_error():
    samples = made(labels([0, 1] * 4), sides=["test"] * 8)
    with pytest.raises(LayerwiseError, match="no train sample"):
        split(samples, "label", seed=0)


def test_missing_values_are_on_no_side():
    target = dataclasses.replace(labels([0, 1] * 10), values=torch.tensor([-1, 1, 0, 1] * 5))
    parts = split(made(target), "label", seed=0)
    assert not {row for side in sides(parts) for row in side} & set(range(0, 20, 4))


def test_dealing_reaches_every_side_with_one_unit_for_each():
    for seed in range(20):
        dealt = deal([[0], [1], [2]], {0: 0, 1: 0, 2: 0}, (0.8, 0.1, 0.1), seed)
        assert sorted(map(len, dealt)) == [1, 1, 1]


def test_few_shots_leave_the_test_side_alone():
    target = labels([i % 3 for i in range(90)])
    whole = split(made(target), target, seed=0)
    drawn = [few_shot(whole, target, shots=4, seed=seed) for seed in range(5)]
    for few in drawn:
        assert torch.equal(few.test, whole.test)
        for side, before in ((few.train, whole.train), (few.validation, whole.validation)):
            assert target.values[side].bincount().tolist() == [4, 4, 4]
            assert set(side.tolist()) <= set(before.tolist())
        assert len(few.left_out) == 90 - 12 - 12 - len(whole.test)
    assert len({tuple(few.train.tolist()) for few in drawn}) == 5
    assert torch.equal(few_shot(whole, target, shots=4, seed=0).train, drawn[0].train)
    plenty = few_shot(whole, target, shots=1000, seed=0)
    assert torch.equal(plenty.train, whole.train)
