"""Every measure keeps the laws, and the laws notice who does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from layerwise.measures import (
    CKA,
    Covariance,
    SpectralLearningOrder,
    StabilityPlasticity,
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
from layerwise.measures.laws import (
    Change,
    check,
    check_order,
    check_streamed,
    moved,
    scaled,
    turned,
)


def cka_with_classes(features: Tensor, labels: Tensor) -> Tensor:
    return cka(features, torch.eye(3).to(features)[labels])


def collapse(features: Tensor, labels: Tensor) -> Tensor:
    """What does not depend on the origin."""
    found = neural_collapse(features, labels)
    return torch.stack([found.nc1, found.cdnv, found.nc2_equinorm, found.nc3, found.nc4])


def complexity(features: Tensor, labels: Tensor) -> Tensor:
    layers = {"a": features[:, :3], "b": features}
    return feature_complexity(layers, torch.eye(3).to(features)[labels]).complexity.value


def learned(features: Tensor, labels: Tensor) -> SpectralLearningOrder:
    return spectral_learning_order([features[:, :4], features], labels)


def kept(features: Tensor, labels: Tensor) -> StabilityPlasticity:
    return stability_plasticity([features + 1, 3 * features], labels)


def represented(features: Tensor, labels: Tensor) -> Tensor:
    """What does not depend on the axes."""
    return representation_bias(features, labels).explained.value


MEASURES = {
    cka: (turned, scaled, moved),
    cka_with_classes: (turned, scaled, moved),
    collapse: (turned, scaled, moved),
    complexity: (scaled, moved),
    debiased_participation_ratio: (turned, scaled, moved),
    effective_rank: (turned, scaled, moved),
    intrinsic_dimension: (turned, scaled, moved),
    kept: (scaled, moved),
    learned: (scaled, moved),
    neural_collapse: (turned, scaled),
    participation_ratio: (turned, scaled, moved),
    represented: (turned, scaled, moved),
    spectrum: (turned, moved),
}
every_measure = pytest.mark.parametrize("measure", MEASURES)


@every_measure
@pytest.mark.parametrize("seed", range(3))
def test_every_measure_keeps_the_laws(measure: Callable[..., object], seed: int) -> None:
    check(measure, invariances=MEASURES[measure], seed=seed)


@every_measure
@given(order=st.permutations(range(36)))
def test_the_order_of_the_samples_is_not_felt(
    measure: Callable[..., object], order: list[int]
) -> None:
    check_order(measure, torch.tensor(order))


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_size_of_the_batches_is_not_felt(sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(30, width, generator=generator).double() for width in (3, 50, 1)]
    check_streamed(CKA, cka, layers, batches=sizes)
    check_streamed(Covariance, lambda features: features.T.cov(), layers[:1], batches=sizes)


def feels_the_order(features: Tensor) -> Tensor:
    return features[0].norm()


def changes_its_argument(features: Tensor) -> Tensor:
    return features.sub_(features.mean(dim=0)).norm()


def draws_globally(features: Tensor) -> Tensor:
    return features.norm() + 0 * torch.rand(())


def answers_nan(features: Tensor) -> Tensor:
    return features.norm(dim=1).mean()


def answers_in_single(features: Tensor) -> Tensor:
    return features.float().norm()


@pytest.mark.parametrize(
    ("measure", "broken"),
    [
        (feels_the_order, "order of the samples is felt"),
        (changes_its_argument, "an argument was changed"),
        (draws_globally, "random state was changed"),
        (answers_nan, "NaN is neither refused nor answered"),
        (answers_in_single, "float64 is not answered in float64"),
    ],
)
def test_a_broken_law_is_noticed(measure: Callable[..., Tensor], broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check(measure)


@pytest.mark.parametrize("change", [scaled, moved])
def test_a_wrong_declaration_is_noticed(change: Change) -> None:
    def length(features: Tensor) -> Tensor:
        return features.norm()

    with pytest.raises(AssertionError, match=f"features {change.__name__} are felt"):
        check(length, invariances=(change,))


class MeanOfMeans:
    """A stream that counts every batch the same, however small."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def update(self, features: Tensor) -> None:
        self.means.append(features.mean(dim=0))

    def result(self) -> Tensor:
        return torch.stack(self.means).mean(dim=0)


def test_a_stream_that_feels_its_batches_is_noticed() -> None:
    with pytest.raises(AssertionError, match="batches of 7 are felt"):
        check_streamed(MeanOfMeans, lambda features: features.mean(dim=0), [torch.randn(36, 2)])
