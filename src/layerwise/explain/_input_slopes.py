"""The gradient of a score by the input itself, in the input's own shape."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, differentiable, require_inputs, running
from layerwise.explain._hide import main
from layerwise.explain._target import Target, chosen
from layerwise.models import Layer, Network
from layerwise.models._hooks import usable
from layerwise.taps._tap import Enough, tap


def input_slopes(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
) -> Float[Tensor, "n ..."]:
    """How each sample's score answers to each number that flows into the network.

    Args:
        network: the network, which is left as it was.
        inputs: a batch of numbers; of several tensors the pixels are meant.
        labels: column of the target, for each sample.
        target: what is explained; the default is what the network returns.

    Raises:
        LayerwiseError: the inputs are words, which have no gradient; and as `gradients`.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(3, 2), example=torch.zeros(1, 3))
        >>> slopes = input_slopes(network, torch.ones(1, 3), torch.tensor([1]))
        >>> slopes[0].equal(network.module.weight[1].detach())
        True
    """
    network.take_example(inputs)
    require_inputs(inputs)
    target = target or Target()
    name = main(inputs) if isinstance(inputs, Mapping) else ""
    value = inputs[name] if isinstance(inputs, Mapping) else inputs
    if not value.is_floating_point():
        raise LayerwiseError(
            "words have no gradient; explain the layer of their embeddings, the first of 'blocks'"
        )
    leaf = value.detach().clone()
    columns: list[Tensor] = []

    def receive(layer: Layer, flowing: Tensor) -> None:
        columns.append(target.columns(layer, flowing, inputs))

    with (
        differentiable(network),
        running(network, inputs),
        tap(network, target.found(network).name, receive, stop=True) as seen,
    ):
        leaf.requires_grad_()
        passed = leaf.clone()  # the network may change its inputs in place
        with suppress(Enough):
            network(usable({**inputs, name: passed} if isinstance(inputs, Mapping) else passed))
        seen.require_all()
        scores = chosen(columns[0], labels)
        slope = None
        if scores.requires_grad:
            (slope,) = torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
    if slope is not None:
        return slope
    other = 1 - 2 * value
    moved = target.read(network, {**inputs, name: other} if isinstance(inputs, Mapping) else other)
    if not torch.allclose(moved, columns[0].detach(), rtol=1e-4, atol=1e-5):
        raise LayerwiseError(
            f"{network.name} has no derivative between its input and {target.layer!r}, although "
            f"one depends on the other; explain it with occlusion"
        )
    return torch.zeros_like(value)
