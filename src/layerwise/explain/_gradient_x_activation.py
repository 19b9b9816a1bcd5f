"""Gradient times activation: what each number in a layer adds to a score, were the rest linear.

`value * d score / d value` at every layer asked for, all of them out of one forward and one
backward. At the input it is gradient x input. With a linear way from a layer to the score and no
bias, the parts add up to the score.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Int
from torch import Tensor

from layerwise.explain._differentiable import Inputs
from layerwise.explain._gradients import gradients
from layerwise.explain._target import Target
from layerwise.features import Features
from layerwise.models import Network


def gradient_x_activation(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    layers: str | Iterable[str] = "blocks",
    target: Target | None = None,
) -> Features:
    """What each number in some layers adds to a score, to first order.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        layers: addresses or patterns; `.:in` is what flows into the network.
        target: what is explained; the default is what the network returns.

    Returns:
        By address, in the layers' standard form.

    Raises:
        LayerwiseError: as `gradients`.

    Example:
        >>> import torch, layerwise
        >>> module = torch.nn.Linear(2, 3, bias=False)
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> inputs = torch.tensor([[1.0, 2.0]])
        >>> parts = gradient_x_activation(network, inputs, torch.tensor([1]), layers=".:in")
        >>> bool((parts[".:in[0]"].sum() - module(inputs)[0, 1]).abs() < 1e-6)
        True
    """
    found = gradients(network, inputs, labels, layers=layers, target=target)
    return Features({name: value * found.slopes[name] for name, value in found.values.items()})
