"""The brick under every gradient method: many layers' values and gradients in one forward and back.

All layers asked for lie in one graph. The first of them starts it, so nothing before is kept, and
the weights take no part. Gradients are asked of the graph (`torch.autograd.grad`), so no weight's
`grad` is written. Where no path leads from a layer to the target, its gradient is zero; that the
target truly does not depend on it is tried first, because a step without a derivative looks alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import (
    Inputs,
    differentiable,
    require_inputs,
    running,
)
from layerwise.explain._target import Target, chosen
from layerwise.features import Features
from layerwise.models import Layer, Network
from layerwise.models._hooks import usable
from layerwise.taps import edit
from layerwise.taps._tap import Enough, tap


@final
@dataclass(frozen=True)
class Gradients:
    """What flowed through some layers, and how the target answers to it.

    Args:
        values: what flowed, by address, in the standard form.
        slopes: derivative of each sample's score by it, in the same form.
        scores: what was explained, one number for each sample.
    """

    values: Features
    slopes: Features
    scores: Float[Tensor, " n"]


def gradients(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    layers: str | Iterable[str] = "blocks",
    target: Target | None = None,
) -> Gradients:
    """Values and gradients of many layers, in one forward and one backward.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample: a class, or a channel of a layer.
        layers: addresses or patterns; `.:in` is what flows into the network.
        target: what is explained; the default is what the network returns.

    Raises:
        LayerwiseError: no such layer, a label out of range, inputs that the network does not run
            on, or a network that has no derivative between a layer and the target.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> found = gradients(network, torch.ones(1, 2), torch.tensor([2]), layers="0")
        >>> found.slopes["0"].equal(module[1].weight[2:].detach())
        True
    """
    network.take_example(inputs)
    require_inputs(inputs)
    target = target or Target()
    wanted = network.layers.select(layers)
    copied = {layer.name for layer in wanted if layer.overwritten}
    with differentiable(network), running(network, inputs):
        run = _Run(network, inputs, wanted, target, copied)
        if run.late:  # the example did not show it, these inputs do
            run = _Run(network, inputs, wanted, target, copied | run.late)
        scores = chosen(run.columns, labels)
        slopes = _slopes(scores, list(run.values.values()))
    unreached = [n for n, slope in zip(run.values, slopes, strict=True) if slope is None]
    _require_independent(network, inputs, target, run.columns.detach(), unreached)
    standard = {layer.name: layer.sure.standard for layer in wanted}
    filled = [
        torch.zeros_like(value) if slope is None else slope
        for value, slope in zip(run.values.values(), slopes, strict=True)
    ]
    return Gradients(
        Features({name: standard[name](value.detach()) for name, value in run.values.items()}),
        Features(
            {name: standard[name](slope) for name, slope in zip(run.values, filled, strict=True)}
        ),
        scores.detach(),
    )


class _Run:
    """One forward that keeps what flows by, each tensor a node of the graph."""

    def __init__(
        self,
        network: Network,
        inputs: Inputs,
        layers: Sequence[Layer],
        target: Target,
        copied: set[str],
    ) -> None:
        self.values: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
        self._names = {layer.name for layer in layers}
        self._target, self._layer, self._inputs = target, target.found(network), inputs
        self._copied = copied
        names = [*self._names, self._layer.name]
        with tap(network, names, self._receive, stop=True) as seen:
            try:
                network(usable(inputs))
            except Enough:
                pass
            else:
                seen.require_all()

    @property
    def late(self) -> set[str]:
        """Layers whose values were overwritten after they had been seen."""
        return {n for n, value in self.values.items() if value._version != self._versions[n]}

    def _receive(self, layer: Layer, value: Tensor) -> Tensor | None:
        passed = None
        if layer.name in self._names:
            begins = not value.requires_grad
            kept = value.detach().requires_grad_() if begins else value
            passed = kept.clone() if begins or layer.name in self._copied else kept
            self.values[layer.name], self._versions[layer.name] = kept, kept._version
            value = kept
        if layer.name == self._layer.name:
            self.columns = self._target.columns(layer, value, self._inputs)
        return passed


def _slopes(scores: Tensor, values: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not scores.requires_grad:
        return [None] * len(values)
    return torch.autograd.grad(scores.sum(), values, allow_unused=True)


def _require_independent(
    network: Network, inputs: Inputs, target: Target, columns: Tensor, layers: Sequence[str]
) -> None:
    """Make sure that what no gradient reaches has no effect either."""
    for layer in layers:
        with edit(network, {layer: lambda value: 1 - 2 * value}):
            other = target.read(network, inputs)
        if not torch.allclose(other, columns, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise LayerwiseError(
                f"{network.name} has no derivative between layer {layer!r} and "
                f"{target.layer!r}, although one depends on the other; explain it with "
                f"occlusion, or choose a layer after the step that has none"
            )
