"""The ways to explain a prediction that share one call, each with what it asks for and answers.

A way maps a batch and its labels to one number a place: for every layer asked for, or for the input
alone. The families are those of the taxonomy of feature visualisation (P215).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from layerwise.errors import unknown
from layerwise.explain._deconvnet import deconvnet, guided_backpropagation
from layerwise.explain._differentiable import Inputs
from layerwise.explain._grad_cam import grad_cam
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.explain._integrated_gradients import integrated_gradients
from layerwise.explain._norm_x_logit import norm_x_logit
from layerwise.explain._occlusion import occlusion
from layerwise.explain._places import heat
from layerwise.explain._regional_prediction_difference import regional_prediction_difference
from layerwise.explain._target import Target
from layerwise.models import Network

INPUT = "input"
"""Stands for a layer's address where a way explains the input itself."""


@runtime_checkable
class Explain(Protocol):
    """Explains a batch: one number a place, `[n 1 h w]` or `[n t 1]`, by layer."""

    def __call__(
        self,
        network: Network,
        inputs: Inputs,
        labels: Int[Tensor, " n"],
        layers: str,
        target: Target,
        /,
    ) -> Mapping[str, Tensor]:
        """Explain the inputs at some layers; a way of the input alone takes no notice of them."""
        ...


@final
@dataclass(frozen=True)
class Way:
    """One way to explain a prediction.

    Args:
        name: word for commands and tables.
        says: what it does, in a sentence.
        family: `input modification` or `deconvolution`, by how it asks the network.
        modality: what samples it is made for: `image`, `text` or `any`.
        layered: whether it explains layers; else it explains the input.
        explain: does it.
    """

    name: str
    says: str
    family: str
    modality: str
    layered: bool
    explain: Explain


def ways() -> tuple[Way, ...]:
    """All of them.

    Example:
        >>> [way.name for way in ways()][:2]
        ['grad-cam', 'gradient-x-activation']
    """
    return (
        Way(
            "grad-cam",
            "Channels of a layer, weighted by how much the score answers to each.",
            "deconvolution",
            "any",
            layered=True,
            explain=lambda n, x, y, layers, t: grad_cam(n, x, y, layers=layers, target=t),
        ),
        Way(
            "gradient-x-activation",
            "What each place of a layer adds to the score, to first order.",
            "deconvolution",
            "any",
            layered=True,
            explain=lambda n, x, y, layers, t: heat(
                n, gradient_x_activation(n, x, y, layers=layers, target=t), x
            ),
        ),
        Way(
            "integrated-gradients",
            "The score's rise over that of a blank input, shared out among a layer's places.",
            "deconvolution",
            "any",
            layered=True,
            explain=lambda n, x, y, layers, t: heat(
                n, integrated_gradients(n, x, y, layers=layers, target=t, steps=20).parts, x
            ),
        ),
        Way(
            "gradient-x-input",
            "What each place of the input adds to the score, to first order.",
            "deconvolution",
            "any",
            layered=False,
            explain=lambda n, x, y, _, t: {INPUT: gradient_x_input(n, x, y, target=t)},
        ),
        Way(
            "guided-backpropagation",
            "The gradient at the pixels, along paths on which nothing negative goes up or down.",
            "deconvolution",
            "image",
            layered=False,
            explain=lambda n, x, y, _, t: {
                INPUT: _strength(guided_backpropagation(n, x, y, target=t))
            },
        ),
        Way(
            "deconvnet",
            "The score projected back to the pixels, rectified on the way down.",
            "deconvolution",
            "image",
            layered=False,
            explain=lambda n, x, y, _, t: {INPUT: _strength(deconvnet(n, x, y, target=t))},
        ),
        Way(
            "occlusion",
            "How much the score falls when a place is hidden.",
            "input modification",
            "any",
            layered=False,
            explain=lambda n, x, y, _, t: {INPUT: occlusion(n, x, y, target=t)},
        ),
        Way(
            "regions",
            "How the odds fall when a superpixel is replaced by background, over several scales.",
            "input modification",
            "image",
            layered=False,
            explain=lambda n, x, y, _, t: {
                INPUT: regional_prediction_difference(n, _pictures(x), y, target=t)
            },
        ),
        Way(
            "norm-x-logit",
            "The length of a word's embedding times its last state's own vote; no gradient.",
            "input modification",
            "text",
            layered=False,
            explain=lambda n, x, y, _, t: {INPUT: norm_x_logit(n, x, y, target=t)},
        ),
    )


def way(name: str) -> Way:
    """The way of that name.

    Args:
        name: as in `ways`.

    Raises:
        LayerwiseError: there is none.

    Example:
        >>> way("occlusion").layered
        False
    """
    for each in ways():
        if each.name == name:
            return each
    raise unknown("way to explain", name, (each.name for each in ways()))


def _strength(slopes: Tensor) -> Tensor:
    """The largest of the colours' absolute values: what such pictures are shown by."""
    return slopes.abs().amax(1, keepdim=True)


def _pictures(inputs: Inputs) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
