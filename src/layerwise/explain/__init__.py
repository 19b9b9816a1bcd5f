"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._account import Account, Said, Subject, account, sample_of, suited
from layerwise.explain._at import At
from layerwise.explain._blank import blank
from layerwise.explain._compare import Judged, compare
from layerwise.explain._deconvnet import deconvnet, guided_backpropagation
from layerwise.explain._differentiable import differentiable
from layerwise.explain._erasure import Erasure, erasure
from layerwise.explain._faithfulness import Faithfulness, faithfulness
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._hide import covered
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._integrated_gradients import IntegratedGradients, integrated_gradients
from layerwise.explain._layer_masking import layer_masking
from layerwise.explain._lexicon import Lexicon
from layerwise.explain._norm_x_logit import norm_x_logit
from layerwise.explain._occlusion import occlusion
from layerwise.explain._places import heat
from layerwise.explain._randomisation import Randomisation, randomisation
from layerwise.explain._regional_prediction_difference import regional_prediction_difference
from layerwise.explain._target import Target
from layerwise.explain._ways import Way, way, ways

__all__ = [
    "Account",
    "At",
    "Erasure",
    "Faithfulness",
    "Gradients",
    "IntegratedGradients",
    "Judged",
    "Lexicon",
    "Randomisation",
    "Said",
    "Subject",
    "Target",
    "Way",
    "account",
    "blank",
    "compare",
    "covered",
    "deconvnet",
    "differentiable",
    "erasure",
    "faithfulness",
    "grad_cam",
    "gradient_x_activation",
    "gradient_x_input",
    "gradients",
    "guided_backpropagation",
    "heat",
    "input_slopes",
    "integrated_gradients",
    "layer_masking",
    "norm_x_logit",
    "occlusion",
    "randomisation",
    "regional_prediction_difference",
    "sample_of",
    "suited",
    "way",
    "ways",
]
