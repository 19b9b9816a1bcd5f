"""Gradient times input: the plainest explanation, one number for each place of the input."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor

from layerwise.explain._differentiable import Inputs
from layerwise.explain._gradient_x_activation import gradient_x_activation
from layerwise.explain._hide import main
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._places import heat
from layerwise.explain._target import Target
from layerwise.models import Network


def gradient_x_input(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
) -> Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"]:
    """What each place of the input adds to a score, to first order, summed over channels.

    Words are no numbers; for a text it is what flows out of the first layer, their embeddings.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        target: what is explained; the default is what the network returns.

    Raises:
        LayerwiseError: as `gradients`.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Linear(3, 2), example=torch.zeros(1, 3))
        >>> gradient_x_input(network, torch.ones(1, 3), torch.tensor([1])).shape
        torch.Size([1, 3, 1])
    """
    network.take_example(inputs)
    value = inputs[main(inputs)] if isinstance(inputs, Mapping) else inputs
    if not value.is_floating_point():
        first = network.layers.select("blocks")[0].name
        words = gradient_x_activation(network, inputs, labels, layers=first, target=target)
        return heat(network, words, inputs)[first]
    parts = value * input_slopes(network, inputs, labels, target=target)
    if parts.ndim == 4:
        return parts.sum(1, keepdim=True)
    return parts.flatten(2).sum(2, keepdim=True) if parts.ndim > 2 else parts.unsqueeze(2)
