"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._concept_activation import ConceptActivation, ConceptScores
from layerwise.explain._deep_feature_factorization import DeepFeatureFactorization
from layerwise.explain._exemplars import Exemplars, exemplars
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._invertible_concepts import ConceptExplanation, InvertibleConcepts
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._on_grid import on_grid
from layerwise.explain._target import Target
from layerwise.explain._top_k_autoencoder import TopKAutoencoder

__all__ = [
    "ConceptActivation",
    "ConceptExplanation",
    "ConceptScores",
    "DeepFeatureFactorization",
    "Exemplars",
    "Gradients",
    "InvertibleConcepts",
    "NonNegative",
    "Target",
    "TopKAutoencoder",
    "exemplars",
    "gradients",
    "on_grid",
]
