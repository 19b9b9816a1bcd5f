"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._at import At
from layerwise.explain._blank import blank
from layerwise.explain._differentiable import differentiable
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._integrated_gradients import IntegratedGradients, integrated_gradients
from layerwise.explain._places import heat
from layerwise.explain._target import Target

__all__ = [
    "At",
    "Gradients",
    "IntegratedGradients",
    "Target",
    "blank",
    "differentiable",
    "grad_cam",
    "gradient_x_activation",
    "gradients",
    "heat",
    "integrated_gradients",
]
