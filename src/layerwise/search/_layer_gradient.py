"""The gradient of a loss for one linear layer's weights, for every sample by itself.

It is the outer product of what flows into the layer and of the loss's slope at what flows out of
it, summed over the places of the sample: one backward pass from the embedding to the layer serves
a whole batch, and no weight is touched. The graph starts at the layer's output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest, usable
from layerwise.search._dense import one_layer
from layerwise.taps._tap import Enough, tap

Inputs = Tensor | Mapping[str, Tensor]
Loss = Callable[[Float[Tensor, "n d"]], Float[Tensor, " n"]]
"""Takes embeddings and gives a loss for each."""


@final
@dataclass(frozen=True)
class LayerGradient:
    """Embeddings, and the two factors of each sample's gradient.

    Args:
        embeddings: what the loss was taken of.
        inward: what flows into the linear layer, with a last column of ones where it has a bias.
        slopes: of the summed losses, at what flows out of the layer.
    """

    embeddings: Float[Tensor, "n d"]
    inward: Float[Tensor, "n t i"]
    slopes: Float[Tensor, "n t o"]

    def weights(self) -> Float[Tensor, "n o i"]:
        """The gradient for weight and, as a last column, bias, of each sample."""
        return self.slopes.transpose(1, 2) @ self.inward


def layer_gradient(
    network: Network, inputs: Inputs, loss: Loss, *, layer: str, embedding: str
) -> LayerGradient:
    """Take each sample's gradient; network, flags and hooks stay as they are.

    Args:
        network: the network.
        inputs: a batch.
        loss: of the embeddings.
        layer: a linear layer.
        embedding: a later layer, pooled: its first token where that is no place, else the mean.

    Raises:
        LayerwiseError: no such layers, a layer that is not linear, or one that the embedding does
            not depend on.
    """
    linear, inward = one_layer(network, layer), network.layers.find(f"{layer}:in")
    module = network.module.get_submodule(linear.name)
    if not isinstance(module, torch.nn.Linear):
        raise LayerwiseError(f"layer {layer!r} is a {linear.module}; give a Linear")
    last = one_layer(network, embedding)
    seen: dict[str, Tensor] = {}

    def receive(at: Layer, value: Tensor) -> Tensor | None:
        if at.name == inward.name:
            seen["in"] = value.detach()
            return None
        started = value.detach().requires_grad_() if at.name == linear.name else value
        if at.name == linear.name:
            seen["out"] = started
        if at.name == last.name:
            seen["embedding"] = pooled(last, last.sure.standard(started))
        return started

    names = [inward.name, linear.name, last.name]
    with at_rest(network.module), torch.enable_grad(), tap(network, names, receive, stop=True):
        with suppress(Enough):
            network(usable(inputs))
        slopes = None
        if "out" in seen and (embeddings := seen["embedding"]).requires_grad:
            total = loss(embeddings).sum()
            (slopes,) = torch.autograd.grad(total, seen["out"], allow_unused=True)
    if slopes is None:
        raise LayerwiseError(f"{embedding!r} does not depend on layer {layer!r}; give a later one")
    activations = _places(seen["in"])
    if module.bias is not None:
        activations = torch.cat([activations, torch.ones_like(activations[..., :1])], 2)
    return LayerGradient(embeddings.detach(), activations, _places(slopes))


def _places(value: Tensor) -> Float[Tensor, "n t d"]:
    return value.flatten(1, -2) if value.ndim > 2 else value.unsqueeze(1)


def pooled(layer: Layer, standard: Tensor) -> Float[Tensor, "n d"]:
    """One row for each sample: the first token where that is no place, else the mean of places."""
    tokens = layer.sure.tokens(standard)
    return tokens[:, 0] if layer.sure.prefix else tokens.mean(1)
