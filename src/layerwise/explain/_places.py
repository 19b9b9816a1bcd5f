"""Explanations of a layer as one number for each of its places."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from layerwise.explain._differentiable import Inputs
from layerwise.features import Features
from layerwise.models import Network
from layerwise.taps._places import placed


def heat(network: Network, attributions: Mapping[str, Tensor], inputs: Inputs) -> Features:
    """One number for each place: attributions summed over the channels.

    Args:
        network: the network.
        attributions: of some layers, in their standard form.
        inputs: the batch that was explained.

    Returns:
        By address `[n 1 h w]`, or `[n t 1]` for texts.

    Raises:
        LayerwiseError: a layer has no places.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Conv2d(3, 4, 3), example=torch.zeros(1, 3, 9, 9))
        >>> heat(network, {".": torch.ones(2, 4, 7, 7)}, torch.zeros(2, 3, 9, 9))["."].shape
        torch.Size([2, 1, 7, 7])
    """
    found = {}
    for name, value in attributions.items():
        places = placed(network, network.layers.find(name), value, inputs)
        found[name] = places.sum(1 if places.ndim == 4 else 2, keepdim=True)
    return Features(found)
