"""The survey of concepts against its parts, on pictures, texts and vectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import InvertibleConcepts, selective_units
from layerwise.explain._concept_survey import survey_concepts
from layerwise.vocabulary import examples


def test_its_numbers_are_those_of_the_concepts_themselves() -> None:
    given = examples(survey_concepts)
    (found,) = survey_concepts(**given, layers="3", count=3, shown=2, units=2)
    concepts = InvertibleConcepts.fit(**given, layer="3", count=3)
    told = concepts(**given)
    assert found.agreement == pytest.approx(told.agreement.item())
    assert found.error == pytest.approx(told.error.item(), rel=1e-2)
    assert sum(concept.presence for concept in found.concepts) == pytest.approx(1)
    assert sum(concept.effect for concept in found.concepts) == pytest.approx(1)
    shares = (told.presence.sum(0) / told.presence.sum()).sort(descending=True).values
    assert [c.presence for c in found.concepts] == pytest.approx(shares.tolist(), rel=1e-2)
    first = found.concepts[0]
    assert first.heat[0].shape == (4, 4)
    strongest = told.presence[:, told.presence.sum(0).argmax()].max()
    assert first.heat[0].mean().item() == pytest.approx(strongest.item(), rel=1e-2)


def test_units_are_chosen_on_some_samples_and_measured_on_the_others() -> None:
    features = torch.rand(20, 6).round(decimals=3)
    held = torch.arange(20) % 4 == 3
    features[0, 4], features[1, 4], features[3, 4] = 9.0, 8.5, 8.0  # the last is held out
    features[5, 2] = 8.0
    found = selective_units(features, held=held, count=2, shown=2)
    assert [row.unit for row in found] == [4, 2]
    assert found[0].samples == (0, 1)
    assert found[1].samples[0] == 5
    some, others = features[~held].double(), features[held].double()
    height = (others[:, 4].max() - some[:, 4].mean()) / some[:, 4].std(correction=0)
    assert found[0].selective == pytest.approx(height.item(), rel=1e-4)
    height = (others[:, 2].max() - some[:, 2].mean()) / some[:, 2].std(correction=0)
    assert found[1].selective == pytest.approx(height.item(), rel=1e-4, abs=1e-5)


def test_units_that_single_out_one_odd_sample_are_told_once() -> None:
    features = torch.rand(12, 5) * 0.1
    features[4] += 5  # everything answers to it
    found = selective_units(features, held=torch.arange(12) >= 8, count=3, shown=1)
    assert [row.samples for row in found].count((4,)) == 1
    flat = selective_units(torch.ones(12, 5), held=torch.arange(12) >= 8)
    assert flat == ()
    with pytest.raises(LayerwiseError, match="0 of 12 samples held out"):
        selective_units(features, held=torch.zeros(12, dtype=torch.bool))


def test_samples_of_units_are_shown_from_those_that_chose_them() -> None:
    given = examples(survey_concepts)
    (found,) = survey_concepts(**given, layers="1", units=3, shown=4)
    values = layerwise.read(given["network"], given["inputs"], "1")["1"].mean((2, 3))
    held = torch.randperm(36, generator=torch.Generator().manual_seed(0)) < 18
    assert found.units == selective_units(values, held=held, count=3, shown=4)
    assert not any(held[sample] for row in found.units for sample in row.samples)


def test_layers_without_places_have_concepts_too() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    network = layerwise.open(module.eval(), example=torch.zeros(1, 4))
    (found,) = survey_concepts(network, torch.randn(20, 4), layers="1", count=2)
    assert [len(heat) for heat in found.concepts[0].heat] == [1] * 5
    with pytest.raises(LayerwiseError, match="1 samples for 6 concepts"):
        survey_concepts(network, torch.randn(1, 4), layers="1")
