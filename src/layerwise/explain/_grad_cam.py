"""Grad-CAM: the channels of a layer, weighted by how much the score answers to each.

A channel's weight is the mean of its gradient over all places; the map is the weighted sum of the
channels (Selvaraju 2017, equations 1 and 2). Maps keep their sign, where the paper's own ReLU
(`map.relu()`) shows only what speaks for the score. Tokens of a picture are laid on their grid and
class tokens left out; for a text there is one number a token.
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
from layerwise.taps._places import placed


def grad_cam(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    layers: str | Iterable[str] = "blocks",
    target: Target | None = None,
) -> Features:
    """One map for each layer of what speaks for a score.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        layers: addresses or patterns of layers that have places.
        target: what is explained; the default is what the network returns.

    Returns:
        By address `[n 1 h w]`, or `[n t 1]` for texts.

    Raises:
        LayerwiseError: a layer has no places; and as `gradients`.

    Example:
        >>> import torch, layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1),
        ...                              torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 9, 9))
        >>> inputs = torch.rand(2, 3, 9, 9)
        >>> maps = grad_cam(network, inputs, torch.tensor([1, 2]), layers="0")["0"]
        >>> bool((maps[0, 0] - module[0](inputs)[0, 1] / 49).abs().max() < 1e-6)
        True
    """
    found = gradients(network, inputs, labels, layers=layers, target=target)
    maps = {}
    for name in found.values:
        layer = network.layers.find(name)
        values = placed(network, layer, found.values[name], inputs)
        slopes = placed(network, layer, found.slopes[name], inputs)
        places, channels = ((2, 3), 1) if values.ndim == 4 else ((1,), 2)
        maps[name] = (slopes.mean(places, keepdim=True) * values).sum(channels, keepdim=True)
    return Features(maps)
