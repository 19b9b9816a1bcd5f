"""Integrated gradients for the input, any layer and any unit.

A layer's value goes in a straight line from what it is for a blank input, `x0`, to what it is, `x`;
the gradient of the score is averaged on the way (Gauss-Legendre) and multiplied by `x - x0`
(Sundararajan 2017, equation 1). The parts add up to `F(x) - F(x0)`; by how much they miss it is
told. Each layer has a way of its own, so each is run on its own, but only from there on: what lies
before runs on one sample, which is spread into all steps in the middle of the forward. That this
gives the plain forward's score at `x` is checked; where it does not, because something passes the
layer by, all of the forward runs on all steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._blank import blank
from layerwise.explain._differentiable import (
    Inputs,
    differentiable,
    part,
    require_inputs,
    running,
)
from layerwise.explain._target import Target, chosen
from layerwise.features import Features
from layerwise.models import Layer, Network
from layerwise.models._examples import repeated
from layerwise.models._hooks import usable
from layerwise.taps import read
from layerwise.taps._tap import Enough, tap


@final
@dataclass(frozen=True)
class IntegratedGradients:
    """What each number in some layers adds to a score.

    Args:
        parts: by address, in the layers' standard form.
        gaps: by address, for each sample the sum of its parts less `F(x) - F(x0)`: 0 where the
            steps were fine enough.
    """

    parts: Features
    gaps: Features


def integrated_gradients(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    layers: str | Iterable[str] = "blocks",
    target: Target | None = None,
    baseline: Inputs | None = None,
    steps: int = 50,
    at_once: int = 32,
) -> IntegratedGradients:
    """Share out the difference between a score and that of a blank input.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        layers: addresses or patterns; `.:in` is what flows into the network.
        target: what is explained; the default is what the network returns.
        baseline: the batch to start from; the default is blank, see `blank`.
        steps: points on the way.
        at_once: points in one forward.

    Raises:
        LayerwiseError: `steps` or `at_once` below 1; and as `gradients`.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(),
        ...                              torch.nn.Linear(4, 3))
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> found = integrated_gradients(network, torch.ones(1, 2), torch.tensor([2]), layers="0")
        >>> bool(found.gaps["0"].abs().max() < 0.05)
        True
    """
    if steps < 1 or at_once < 1:
        raise LayerwiseError(f"steps={steps} and at_once={at_once}; give at least 1 of each")
    network.take_example(inputs)
    n, target = require_inputs(inputs), target or Target()
    start = blank(network, inputs) if baseline is None else baseline
    scores = chosen(target.read(network, inputs), labels)
    names = [layer.name for layer in network.layers.select(layers)]
    ends, starts = read(network, inputs, names), read(network, start, names)
    parts, gaps = {}, {}
    for name in names:
        line = _Line(network, network.layers.find(name), target, steps, at_once)
        pieces = [
            line.walk(part(inputs, i, i + 1), starts[name][i], ends[name][i], labels[i], scores[i])
            for i in range(n)
        ]
        parts[name] = torch.stack([each for each, _ in pieces])
        gaps[name] = torch.stack([gap for _, gap in pieces])
    return IntegratedGradients(Features(parts), Features(gaps))


class _Line:
    """The straight way of one layer's value, walked for one sample after another."""

    def __init__(
        self, network: Network, layer: Layer, target: Target, steps: int, at_once: int
    ) -> None:
        points, weights = np.polynomial.legendre.leggauss(steps)
        # The ends take part with no weight: they tell what the parts have to add up to.
        self.points = torch.tensor([*(points + 1) / 2, 0.0, 1.0])
        self.weights = torch.tensor([*weights / 2, 0.0, 0.0])
        self.network, self.layer, self.target, self.at_once = network, layer, target, at_once
        self.spreads = True

    def walk(
        self, sample: Inputs, start: Tensor, end: Tensor, label: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The parts of one sample, and by how much they miss what they should add up to."""
        if self.spreads:
            try:
                slope, ends = self._averaged(sample, start, end, label)
                if torch.allclose(ends[1], score, rtol=1e-3, atol=1e-4):
                    return self._shared(slope, start, end, ends)
            except (RuntimeError, ValueError, IndexError, AssertionError):
                pass  # something passes the layer by, whose rows are too few
            self.spreads = False
        slope, ends = self._averaged(sample, start, end, label)
        return self._shared(slope, start, end, ends)

    def _shared(
        self, slope: Tensor, start: Tensor, end: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        parts = slope * (end - start)
        return parts, parts.sum() - (ends[1] - ends[0])

    def _averaged(
        self, sample: Inputs, start: Tensor, end: Tensor, label: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient averaged over all points, and the scores at the two ends."""
        slope, scores = torch.zeros_like(end), []
        shape = [-1] + [1] * end.ndim
        points = self.points.to(end).split(self.at_once)
        weights = self.weights.to(end).split(self.at_once)
        for point, weight in zip(points, weights, strict=True):
            path = start + point.view(shape) * (end - start)
            slopes, values = self._slopes(sample, path, label)
            slope += (weight.view(shape) * slopes).sum(0)
            scores.append(values)
        return slope, torch.cat(scores)[-2:]

    def _slopes(self, sample: Inputs, path: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        rows, network, layout = len(path), self.network, self.layer.sure
        all_rows = repeated(sample, rows)
        batch = sample if self.spreads else all_rows
        found = self.target.found(network).name
        columns: list[Float[Tensor, "n c"]] = []

        def receive(layer: Layer, value: Tensor) -> Tensor | None:
            passed = None
            if layer.name == self.layer.name:
                shape = list(value.shape)
                shape[layout.batch] = rows
                value = passed = layout.original(path, tuple(shape)).clone()
            if layer.name == found:
                columns.append(self.target.columns(layer, value, all_rows))
            return passed

        with (
            differentiable(network),
            running(network, batch),
            tap(network, {self.layer.name, found}, receive, stop=True),
        ):
            path.requires_grad_()
            with suppress(Enough):
                network(usable(batch))
            scores = chosen(columns[0], label.expand(rows))
            if not scores.requires_grad:
                return torch.zeros_like(path), scores
            (slopes,) = torch.autograd.grad(scores.sum(), path, allow_unused=True)
        return torch.zeros_like(path) if slopes is None else slopes, scores.detach()
