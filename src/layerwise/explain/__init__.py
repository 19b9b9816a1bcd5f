"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._flow_graph import Edge, flow_graph, neuron_shares
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._information_flow import InformationFlow, information_flow
from layerwise.explain._maco import maco
from layerwise.explain._pixel_ascent import pixel_ascent
from layerwise.explain._spectrum import Spectrum
from layerwise.explain._target import Target
from layerwise.explain._visualisation import Visualisation

__all__ = [
    "Edge",
    "Gradients",
    "InformationFlow",
    "Spectrum",
    "Target",
    "Visualisation",
    "flow_graph",
    "gradients",
    "information_flow",
    "maco",
    "neuron_shares",
    "pixel_ascent",
]
