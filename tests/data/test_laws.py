"""The laws catch samples that break them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from layerwise import data
from layerwise.data.laws import check


class Changing:
    """A loader that never gives the same twice."""

    def __init__(self):
        self.count = 0

    def __call__(self, item):
        self.count += 1
        return f"{item} {self.count}"


def good():
    return data.open([(f"text {i}", {"mood": "ab"[i % 2], "size": i * 0.5}) for i in range(12)])


def test_good_samples_pass():
    check(good())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"keys": ("same",) * 12}, "same key"),
        ({"names": ("one",)}, "12 names"),
        ({"loader": Changing()}, "differently"),
        ({"modality": "image"}, "mode"),
        ({"modality": "tensor"}, "no tensor"),
        ({"split": ("train",) * 11}, "split"),
        ({"split": ("training",) * 12}, "another name"),
    ],
)
def test_broken_samples_are_caught(change, says):
    with pytest.raises((AssertionError, AttributeError), match=says):
        check(dataclasses.replace(good(), **change))


def test_broken_targets_are_caught():
    samples = good()
    mood = samples.targets["mood"]
    for broken in (
        dataclasses.replace(mood, name="other"),
        dataclasses.replace(mood, values=mood.values[:5]),
        dataclasses.replace(mood, values=mood.values.int()),
        dataclasses.replace(mood, values=mood.values + 1),
        dataclasses.replace(mood, values=mood.values - 2),
        dataclasses.replace(mood, kind="number"),
        dataclasses.replace(mood, groups=("g",)),
        dataclasses.replace(samples.targets["size"], values=torch.full((12,), torch.inf).double()),
    ):
        with pytest.raises(AssertionError):
            check(dataclasses.replace(samples, targets={"mood": broken}))
