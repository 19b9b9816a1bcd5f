"""The survey of concepts against its parts, on pictures, texts and vectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import InvertibleConcepts
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


def test_units_are_those_whose_strongest_sample_stands_out_most() -> None:
    given = examples(survey_concepts)
    (found,) = survey_concepts(**given, layers="1", units=3, shown=4)
    values = layerwise.read(given["network"], given["inputs"], "1")["1"].mean((2, 3))
    height = (values.amax(0) - values.mean(0)) / values.std(0).clamp(min=1e-30)
    for row in found.units:
        assert row.selective == pytest.approx(height[row.unit].item(), rel=1e-4)
        assert row.samples == tuple(values[:, row.unit].topk(4).indices.tolist())
    assert found.units[0].selective == pytest.approx(height.max().item(), rel=1e-4)


def test_layers_without_places_have_concepts_too() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    network = layerwise.open(module.eval(), example=torch.zeros(1, 4))
    (found,) = survey_concepts(network, torch.randn(20, 4), layers="1", count=2)
    assert [len(heat) for heat in found.concepts[0].heat] == [1] * 5
    with pytest.raises(LayerwiseError, match="1 samples for 6 concepts"):
        survey_concepts(network, torch.randn(1, 4), layers="1")
