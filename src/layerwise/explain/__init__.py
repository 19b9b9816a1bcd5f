"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._at import At
from layerwise.explain._blank import blank
from layerwise.explain._differentiable import differentiable
from layerwise.explain._faithfulness import Faithfulness, faithfulness
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._hide import covered
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._integrated_gradients import IntegratedGradients, integrated_gradients
from layerwise.explain._occlusion import occlusion
from layerwise.explain._places import heat
from layerwise.explain._randomisation import Randomisation, randomisation
from layerwise.explain._target import Target

__all__ = [
    "At",
    "Faithfulness",
    "Gradients",
    "IntegratedGradients",
    "Randomisation",
    "Target",
    "blank",
    "covered",
    "differentiable",
    "faithfulness",
    "grad_cam",
    "gradient_x_activation",
    "gradient_x_input",
    "gradients",
    "heat",
    "input_slopes",
    "integrated_gradients",
    "occlusion",
    "randomisation",
]
