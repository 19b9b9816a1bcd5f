"""What users give by mistake: each measure refuses it in one line, or has a finite answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import (
    Interval,
    cka,
    debiased_participation_ratio,
    effective_rank,
    feature_complexity,
    intrinsic_dimension,
    neural_collapse,
    participation_ratio,
    representation_bias,
    spectral_learning_order,
    spectrum,
    stability_plasticity,
)

MEASURES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "cka": lambda x, _: cka(x, x[:, :3]),
    "debiased_participation_ratio": lambda x, _: debiased_participation_ratio(x),
    "effective_rank": lambda x, _: effective_rank(x),
    "feature_complexity": lambda x, y: feature_complexity({"a": x}, y.double(), repeats=20),
    "intrinsic_dimension": lambda x, _: intrinsic_dimension(x),
    "neural_collapse": neural_collapse,
    "participation_ratio": lambda x, _: participation_ratio(x),
    "representation_bias": representation_bias,
    "spectral_learning_order": lambda x, y: spectral_learning_order([x, x], y),
    "spectrum": lambda x, _: spectrum(x),
    "stability_plasticity": lambda x, y: stability_plasticity([x, x], y),
}
LABELLED = sorted(
    {
        "feature_complexity",
        "neural_collapse",
        "representation_bias",
        "spectral_learning_order",
        "stability_plasticity",
    }
)
# Where there is nothing to say of a channel or of a first step, the answer is NaN and says so.
UNDEFINED = {"plasticity", "stability", "units"}


def _assert_finite(answer: Any) -> None:
    if isinstance(answer, Tensor):
        assert answer.isfinite().all(), answer
    elif isinstance(answer, Interval) or is_dataclass(answer):
        for field in fields(answer):
            if field.name not in UNDEFINED:
                _assert_finite(getattr(answer, field.name))


@pytest.mark.parametrize("name", MEASURES)
def test_missing_numbers_are_refused(name: str) -> None:
    features, labels = torch.randn(40, 6), torch.arange(40) % 4
    features[3, 2] = torch.nan
    with pytest.raises(LayerwiseError, match="NaN or infinity in 1 of 40 rows"):
        MEASURES[name](features, labels)


@pytest.mark.parametrize("name", MEASURES)
def test_constant_columns_change_nothing(name: str) -> None:
    features, labels = torch.randn(60, 4).double(), torch.arange(60) % 4
    dead = torch.cat([features, torch.full((60, 2), 0.1).double()], 1)
    plain, padded = MEASURES[name](features, labels), MEASURES[name](dead, labels)
    _assert_finite(padded)
    if isinstance(plain, Tensor):
        torch.testing.assert_close(padded, plain)


@pytest.mark.parametrize("name", MEASURES)
def test_more_channels_than_samples_have_a_finite_answer(name: str) -> None:
    _assert_finite(MEASURES[name](torch.randn(24, 90), torch.arange(24) % 4))


@pytest.mark.parametrize("name", LABELLED)
def test_one_class_is_refused(name: str) -> None:
    with pytest.raises(LayerwiseError, match=r"class|does not vary"):
        MEASURES[name](torch.randn(20, 4), torch.zeros(20, dtype=torch.int64))


def test_other_samples_are_refused() -> None:
    one, other = torch.randn(30, 4), torch.randn(29, 6)
    with pytest.raises(LayerwiseError, match=r"layers of \[29, 30\] samples"):
        unwrap(cka)(one, other)
    with pytest.raises(LayerwiseError, match="samples"):
        unwrap(feature_complexity)({"a": one, "b": other}, one[:, 0])
    with pytest.raises(LayerwiseError, match="samples"):
        unwrap(stability_plasticity)([one, other], torch.arange(30) % 2)
