"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._account import Account, Said, Subject, account, suited
from layerwise.explain._at import At
from layerwise.explain._blank import blank
from layerwise.explain._compare import Judged, compare
from layerwise.explain._deconvnet import deconvnet, guided_backpropagation
from layerwise.explain._differentiable import differentiable
from layerwise.explain._erasure import Erasure, erasure
from layerwise.explain._faithfulness import Faithfulness, faithfulness
from layerwise.explain._feature_inverter import FeatureInverter
from layerwise.explain._feature_reconstructor import FeatureReconstructor
from layerwise.explain._feature_visualiser import Family, feature_visualiser
from layerwise.explain._flow_graph import Edge, flow_graph, neuron_shares
from layerwise.explain._global_local import Regions, global_local_similarity
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._hide import covered
from layerwise.explain._information_flow import InformationFlow, information_flow
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._integrated_gradients import IntegratedGradients, integrated_gradients
from layerwise.explain._layer_masking import layer_masking
from layerwise.explain._lexicon import Lexicon
from layerwise.explain._maco import maco
from layerwise.explain._multifaceted import Facets, multifaceted
from layerwise.explain._norm_x_logit import norm_x_logit
from layerwise.explain._occlusion import occlusion
from layerwise.explain._pixel_ascent import pixel_ascent
from layerwise.explain._places import heat
from layerwise.explain._randomisation import Randomisation, randomisation
from layerwise.explain._regional_prediction_difference import regional_prediction_difference
from layerwise.explain._rotation import Rotation
from layerwise.explain._sample import sample_of
from layerwise.explain._spectrum import Spectrum
from layerwise.explain._target import Target
from layerwise.explain._training import normalised_error
from layerwise.explain._visualisation import Visualisation
from layerwise.explain._ways import Way, way, ways

__all__ = [
    "Account",
    "At",
    "Edge",
    "Erasure",
    "Facets",
    "Faithfulness",
    "Family",
    "FeatureInverter",
    "FeatureReconstructor",
    "Gradients",
    "InformationFlow",
    "IntegratedGradients",
    "Judged",
    "Lexicon",
    "Randomisation",
    "Regions",
    "Rotation",
    "Said",
    "Spectrum",
    "Subject",
    "Target",
    "Visualisation",
    "Way",
    "account",
    "blank",
    "compare",
    "covered",
    "deconvnet",
    "differentiable",
    "erasure",
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
    "layer_masking",
    "maco",
    "multifaceted",
    "neuron_shares",
    "norm_x_logit",
    "normalised_error",
    "occlusion",
    "pixel_ascent",
    "randomisation",
    "regional_prediction_difference",
    "sample_of",
    "suited",
    "way",
    "ways",
]
