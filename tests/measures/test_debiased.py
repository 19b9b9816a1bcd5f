"""Debiased measures on features of known dimension and similarity."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import (
    cka,
    debiased_participation_ratio,
    participation_ratio,
    sample_notes,
)


def _of_dimension(samples: int, dimension: int, width: int, *, heavy: bool = False) -> Tensor:
    """Features of which `dimension` directions have equal variance and the others none."""
    source = torch.randn(samples, dimension).double()
    if heavy:
        source = source * source.abs() / 3**0.5
    axes = torch.linalg.qr(torch.randn(width, dimension).double()).Q
    return 7 + source @ axes.T


def test_equals_the_means_over_different_samples_written_out() -> None:
    rows = torch.randn(7, 3).double() + 2
    apart = torch.cdist(rows, rows).square().numpy() / 2
    pairs = [apart[i, j] * apart[k, m] for i, j, k, m in permutations(range(7), 4)]
    x = rows.numpy()
    products = [
        ((x[i] - x[j]) @ (x[k] - x[m])) ** 2 / 4 for i, j, k, m in permutations(range(7), 4)
    ]
    expected = np.mean(pairs) / np.mean(products)
    assert debiased_participation_ratio(rows).item() == pytest.approx(expected)


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("dimension", [5, 40, 150])
def test_finds_the_dimension_where_the_plain_ratio_cannot(dimension: int, heavy: bool) -> None:
    found = [
        debiased_participation_ratio(_of_dimension(60, dimension, 300, heavy=heavy)).item()
        for _ in range(12)
    ]
    plain = participation_ratio(_of_dimension(60, dimension, 300, heavy=heavy)).item()
    assert np.median(found) == pytest.approx(dimension, rel=0.15)
    assert abs(np.median(found) - dimension) < abs(plain - dimension)


@pytest.mark.parametrize("width", [30, 200])
def test_single_precision_is_exact_to_a_thousandth(width: int) -> None:
    features = _of_dimension(80, 12, width)
    exact = debiased_participation_ratio(features).item()
    assert debiased_participation_ratio(features.float()).item() == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.8])
def test_unbiased_similarity_is_the_true_one_of_few_samples(similarity: float) -> None:
    found, biased = [], []
    for _ in range(30):
        # Of each layer's variance a part is the same in both, in d equal directions.
        shared = torch.randn(40, 100).double()
        one, other = (
            similarity**0.25 * shared + (1 - similarity**0.5) ** 0.5 * torch.randn(40, 100).double()
            for _ in range(2)
        )
        found.append(cka(one, other).item())
        biased.append(cka(one, other, unbiased=False).item())
    assert np.mean(found) == pytest.approx(similarity, abs=0.06)
    assert np.mean(biased) > similarity + 0.1


def test_a_constant_layer_has_none_and_mistakes_are_named() -> None:
    assert debiased_participation_ratio(torch.full((9, 3), 0.1)).isnan()
    assert debiased_participation_ratio(torch.eye(12)).isinf()
    with pytest.raises(LayerwiseError, match="3 samples; this measure needs at least 4"):
        debiased_participation_ratio(torch.randn(3, 5))


def test_notes_say_what_is_too_few_and_nothing_where_there_is_enough() -> None:
    few = sample_notes(_of_dimension(50, 30, 200))
    assert [note.split(":")[0] for note in few] == [
        "rank and spectrum",
        "intrinsic dimension",
        "biased CKA",
    ]
    assert "50 samples" in few[0]
    assert sample_notes(_of_dimension(2000, 3, 200)) == ()
    labels = torch.arange(2000) % 4
    apart = _of_dimension(2000, 3, 200) + 9 * torch.nn.functional.one_hot(labels, 200)
    assert sample_notes(apart, labels=labels) == ()
    (note,) = sample_notes(_of_dimension(2000, 3, 200), labels=labels)
    assert note.startswith("neural collapse: ")
