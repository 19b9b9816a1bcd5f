"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._exemplars import Exemplars, strongest
from layerwise.explain._feature_inverter import FeatureInverter
from layerwise.explain._feature_reconstructor import FeatureReconstructor
from layerwise.explain._flow_graph import Edge, flow_graph, neuron_shares
from layerwise.explain._global_local import Regions, global_local_similarity
from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._information_flow import InformationFlow, information_flow
from layerwise.explain._maco import maco
from layerwise.explain._multifaceted import Facets, multifaceted
from layerwise.explain._pixel_ascent import pixel_ascent
from layerwise.explain._pixels import picture_side
from layerwise.explain._rotation import Rotation
from layerwise.explain._spectrum import Spectrum
from layerwise.explain._target import Target
from layerwise.explain._text_trace import Guess, Part, TextTrace, trace_text
from layerwise.explain._training import normalised_error
from layerwise.explain._visualisation import Visualisation

__all__ = [
    "Edge",
    "Exemplars",
    "Facets",
    "FeatureInverter",
    "FeatureReconstructor",
    "Gradients",
    "Guess",
    "InformationFlow",
    "Part",
    "Regions",
    "Rotation",
    "Spectrum",
    "Target",
    "TextTrace",
    "Visualisation",
    "flow_graph",
    "global_local_similarity",
    "gradients",
    "information_flow",
    "maco",
    "multifaceted",
    "neuron_shares",
    "normalised_error",
    "picture_side",
    "pixel_ascent",
    "strongest",
    "trace_text",
]
