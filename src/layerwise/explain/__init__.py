"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._concept_activation import ConceptActivation, ConceptScores
from layerwise.explain._decode_neurons import DecodedNeurons, Neuron, decode_neurons
from layerwise.explain._deep_feature_factorization import DeepFeatureFactorization
from layerwise.explain._exemplars import Exemplars, exemplars
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._invertible_concepts import ConceptExplanation, InvertibleConcepts
from layerwise.explain._language_neurons import LanguageNeurons, language_neurons, switched_off
from layerwise.explain._language_space import LanguageSpace, language_space
from layerwise.explain._neuron_path import NeuronPath, neuron_path, scaled
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._on_grid import on_grid
from layerwise.explain._target import Target
from layerwise.explain._top_k_autoencoder import TopKAutoencoder

__all__ = [
    "ConceptActivation",
    "ConceptExplanation",
    "ConceptScores",
    "DecodedNeurons",
    "DeepFeatureFactorization",
    "Exemplars",
    "Gradients",
    "InvertibleConcepts",
    "LanguageNeurons",
    "LanguageSpace",
    "Neuron",
    "NeuronPath",
    "NonNegative",
    "Target",
    "TopKAutoencoder",
    "decode_neurons",
    "exemplars",
    "gradients",
    "language_neurons",
    "language_space",
    "neuron_path",
    "on_grid",
    "scaled",
    "switched_off",
]
