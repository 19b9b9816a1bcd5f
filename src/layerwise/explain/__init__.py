"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._account import Account, Said, Subject, account, suited
from layerwise.explain._at import At
from layerwise.explain._blank import blank
from layerwise.explain._compare import Judged, compare
from layerwise.explain._concept_activation import ConceptActivation, ConceptScores
from layerwise.explain._concept_survey import ConceptLayer, ConceptRow
from layerwise.explain._decode_neurons import DecodedNeurons, Neuron, decode_neurons
from layerwise.explain._deconvnet import deconvnet, guided_backpropagation
from layerwise.explain._deep_feature_factorization import DeepFeatureFactorization
from layerwise.explain._differentiable import differentiable
from layerwise.explain._erasure import Erasure, erasure
from layerwise.explain._exemplars import Exemplars, exemplars
from layerwise.explain._explainer_network import ExplainerNetwork, Told
from layerwise.explain._faithfulness import Faithfulness, faithfulness
from layerwise.explain._feature_inverter import FeatureInverter
from layerwise.explain._feature_reconstructor import FeatureReconstructor
from layerwise.explain._feature_visualiser import Family, feature_visualiser
from layerwise.explain._flow_graph import Edge, flow_graph, neuron_shares
from layerwise.explain._global_local import Regions, global_local_similarity
from layerwise.explain._global_local_classifier import GlobalLocalClassifier
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._hide import covered
from layerwise.explain._information_flow import InformationFlow, information_flow
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._integrated_gradients import IntegratedGradients, integrated_gradients
from layerwise.explain._invertible_concepts import ConceptExplanation, InvertibleConcepts
from layerwise.explain._language_neurons import LanguageNeurons, language_neurons, switched_off
from layerwise.explain._language_space import LanguageSpace, language_space
from layerwise.explain._layer_masking import layer_masking
from layerwise.explain._lexicon import Lexicon
from layerwise.explain._linear_parts import LinearParts
from layerwise.explain._linear_shortcut import LinearShortcut
from layerwise.explain._maco import maco
from layerwise.explain._multifaceted import Facets, multifaceted
from layerwise.explain._neuron_path import NeuronPath, neuron_path, scaled
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._norm_x_logit import norm_x_logit
from layerwise.explain._occlusion import occlusion
from layerwise.explain._pixel_ascent import pixel_ascent
from layerwise.explain._pixels import picture_side
from layerwise.explain._places import heat
from layerwise.explain._prototypes import SupportTrivialPrototypes
from layerwise.explain._randomisation import Randomisation, randomisation
from layerwise.explain._regional_prediction_difference import regional_prediction_difference
from layerwise.explain._rotation import Rotation
from layerwise.explain._sample import sample_of
from layerwise.explain._selective_units import UnitRow, selective_units
from layerwise.explain._spectrum import Spectrum
from layerwise.explain._strongest import Answered, strongest
from layerwise.explain._target import Target
from layerwise.explain._text_trace import Guess, Part, TextTrace, trace_text
from layerwise.explain._top_k_autoencoder import TopKAutoencoder
from layerwise.explain._training import normalised_error
from layerwise.explain._visualisation import Visualisation
from layerwise.explain._ways import Way, way, ways

__all__ = [
    "Account",
    "Answered",
    "At",
    "ConceptActivation",
    "ConceptExplanation",
    "ConceptLayer",
    "ConceptRow",
    "ConceptScores",
    "DecodedNeurons",
    "DeepFeatureFactorization",
    "Edge",
    "Erasure",
    "Exemplars",
    "ExplainerNetwork",
    "Facets",
    "Faithfulness",
    "Family",
    "FeatureInverter",
    "FeatureReconstructor",
    "GlobalLocalClassifier",
    "Gradients",
    "Guess",
    "InformationFlow",
    "IntegratedGradients",
    "InvertibleConcepts",
    "Judged",
    "LanguageNeurons",
    "LanguageSpace",
    "Lexicon",
    "LinearParts",
    "LinearShortcut",
    "Neuron",
    "NeuronPath",
    "NonNegative",
    "Part",
    "Randomisation",
    "Regions",
    "Rotation",
    "Said",
    "Spectrum",
    "Subject",
    "SupportTrivialPrototypes",
    "Target",
    "TextTrace",
    "Told",
    "TopKAutoencoder",
    "UnitRow",
    "Visualisation",
    "Way",
    "account",
    "blank",
    "compare",
    "covered",
    "decode_neurons",
    "deconvnet",
    "differentiable",
    "erasure",
    "exemplars",
    "faithfulness",
    "feature_visualiser",
    "flow_graph",
    "global_local_similarity",
    "grad_cam",
    "gradient_x_activation",
    "gradient_x_input",
    "gradients",
    "guided_backpropagation",
    "heat",
    "information_flow",
    "input_slopes",
    "integrated_gradients",
    "language_neurons",
    "language_space",
    "layer_masking",
    "maco",
    "multifaceted",
    "neuron_path",
    "neuron_shares",
    "norm_x_logit",
    "normalised_error",
    "occlusion",
    "picture_side",
    "pixel_ascent",
    "randomisation",
    "regional_prediction_difference",
    "sample_of",
    "scaled",
    "selective_units",
    "strongest",
    "suited",
    "switched_off",
    "trace_text",
    "way",
    "ways",
]
