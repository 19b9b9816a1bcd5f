"""Columns become targets by stated rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from layerwise.data._columns import class_target, kind_of, number_target, targets_from
from layerwise.errors import LayerwiseError


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["cat", "dog"] * 5, "class"),
        ([True, False] * 5, "class"),
        ([0, 1, 2] * 5, "class"),
        (["0", "1", "2"] * 5, "class"),
        ([0.0, 1.0] * 5, "class"),
        ([0, 1, 2], "number"),
        (list(range(100)), "number"),
        (["0.5", "1.5", "2.5"] * 9, "number"),
        (["1e3", " -2 ", "nan", "", "N/A", "null"], "number"),
        ([1.5, None, math.nan], "number"),
        (["1", "2", "three"] * 9, "class"),
        ([None, "", math.nan], "class"),
        (list(range(21)) * 5, "number"),
        (list(range(20)) * 5, "class"),
    ],
)
def test_the_kind_is_told_by_the_values(values, kind):
    assert kind_of(values) == kind


def test_classes_are_sorted_as_numbers_or_as_words_and_missing_ones_are_minus_one():
    digits = class_target("digit", ["10", "9", "", None, "1"])
    assert digits.classes == ("1", "9", "10")
    assert digits.values.tolist() == [2, 1, -1, -1, 0]
    assert class_target("x", [1.0, 2, "1"]).classes == ("1", "2")
    assert class_target("x", ["b", " a", "none"]).classes == ("a", "b", "none")
    assert class_target("x", [math.nan, "a"]).known.tolist() == [False, True]


def test_missing_and_infinite_numbers_are_nan():
    target = number_target("size", ["1.5", "", None, "inf", float("-inf"), "NA", 2])
    assert target.values.dtype == torch.float64
    assert torch.equal(target.known, torch.tensor([True, False, False, False, False, False, True]))
    assert target.values[target.known].tolist() == [1.5, 2.0]


def test_words_among_numbers_are_shown_with_their_row():
    with pytest.raises(LayerwiseError, match=r"'age' mixes numbers with words \(row 3 .*'five'"):
        targets_from({"age": ["3", "4", "five"]}, ["age:number"])


def test_without_asking_only_columns_with_something_to_learn_are_targets():
    columns = {
        "label": ["a", "b"] * 10,
        "size": np.linspace(0, 1, 20).tolist(),
        "id": [f"u{i}" for i in range(20)],
        "same": ["x"] * 20,
        "empty": [None] * 20,
    }
    targets, notes = targets_from(columns, None)
    assert list(targets) == ["label", "size"]
    assert len(notes) == 5
    assert notes[0] == "target 'label': 2 classes in 20 rows (by its values)"
    assert notes[2] == "column 'id' is no target: 20 classes in 20 rows"


def test_what_is_asked_is_kept_even_if_it_is_poor():
    columns = {"id": ["a", "b", "c"], "n": ["1", "2", "2"], "none": ["", "", ""], "a:b": [1, 2, 3]}
    targets, _ = targets_from(columns, ["id", "n:class", "a:b"])
    assert targets["id"].classes == ("a", "b", "c")
    assert targets["n"].classes == ("1", "2")
    assert targets["a:b"].kind == "number"
    with pytest.raises(LayerwiseError, match="'none' has no value in any row"):
        targets_from(columns, ["none"])
    with pytest.raises(LayerwiseError, match="no target is called 'idd'; nearest: id"):
        targets_from(columns, ["idd"])
    with pytest.raises(LayerwiseError, match="no target is called 'id:word'"):
        targets_from(columns, ["id:word"])
