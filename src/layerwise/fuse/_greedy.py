"""Greedy combination of layers of any widths, with a price on what is already there.

Layers are added one at a time. Each is standardised and scaled to the same total variance, so that
a wide layer does not outvote a narrow one. A candidate is judged by the ridge regression of what
the combination cannot yet explain (its leave-one-out residuals) on that layer alone, plus
`redundancy` times the part of the candidate that the combination already predicts. The winner
joins, all chosen layers are fitted together, and the search ends when that helps no more. LOES
judges layers so too, but wants equal widths; every error here is an exact leave-one-out error
instead, each layer is decomposed only once, and of a wide candidate a few random sums of
its features say how much of it is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._decomposition import Decomposition
from layerwise.features._standardise import Standardise
from layerwise.fuse._layers import Held, Layers, balanced, columns, pick, require_layers

_SKETCHED = 16
"""Features of a layer, or sums of them, that its redundancy is measured by."""


@final
class Greedy(nn.Module):
    """Joins the layers that together tell most about the targets. Build it with `fit`.

    Args:
        layers: addresses of the chosen layers, the most telling first.
        errors: part of the targets' variance left open after each of them, on held-out rows.
        blocks: what brings each layer to zero mean and a total variance of 1.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> one, other = torch.randn(2, 80, 5, generator=generator)
        >>> greedy = Greedy.fit({"a": one, "b": other, "c": one}, one[:, 0] + other[:, 0])
        >>> sorted(greedy.layers)[-1]
        'b'
        >>> greedy({"a": one, "b": other, "c": one}).shape
        torch.Size([80, 10])
    """

    def __init__(
        self, layers: Sequence[str], errors: Sequence[float], blocks: Sequence[Standardise]
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.errors = tuple(errors)
        self.blocks = nn.ModuleList(blocks)

    @classmethod
    def fit(
        cls,
        layers: Layers,
        targets: Float[Tensor, "n k"] | Float[Tensor, " n"],
        *,
        validation: Held | None = None,
        limit: int = 4,
        redundancy: float = 0.05,
        gain: float = 0.005,
    ) -> Greedy:
        """Choose layers.

        Args:
            layers: what each layer holds, `[n d]` with a width of its own.
            targets: one column per number to be read; for classes one column each, 1 or 0.
            validation: layers and targets of other samples, which say when to stop; without them
                the leave-one-out error does.
            limit: most layers.
            redundancy: price of a candidate that the chosen layers predict completely, as a part of
                the error that is left.
            gain: part of the targets' variance that another layer must explain.

        Raises:
            LayerwiseError: no layers, rows that do not match or are not finite, or targets that do
                not vary.
        """
        n = require_layers(layers, rows=len(targets))
        units = _units(targets)
        y = units(columns(targets).double())
        blocks = {name: balanced(features) for name, features in layers.items()}
        rows = {name: blocks[name](features.double()) for name, features in layers.items()}
        sketches = {name: _sketch(x) for name, x in rows.items()}
        solvers = {name: Decomposition.of(x) for name, x in rows.items()}
        penalties = n * torch.logspace(-6, 2, 13, dtype=torch.float64, device=y.device)
        chosen: list[str] = []
        errors: list[float] = []
        residual, price = y, dict.fromkeys(layers, 0.0)
        while len(chosen) < min(limit, len(layers)):
            costs = {
                name: redundancy * price[name] + _left(solvers[name], residual, penalties)
                for name in layers
                if name not in chosen
            }
            trial = [*chosen, min(costs, key=costs.__getitem__)]
            wide = [rows[name] for name in trial]
            joint = Decomposition.of(torch.cat(wide, 1)) if chosen else solvers[trial[0]]
            solution = joint.solve(y, penalties)
            best = int(solution.left_out.square().mean((1, 2)).argmin())
            error = solution.left_out[best].square().mean().item()
            if validation is not None:
                parts = [blocks[name](validation[0][name].double()) for name in trial]
                predicted = torch.cat(parts, 1) @ solution.weight[best]
                error = (units(columns(validation[1]).double()) - predicted).square().mean().item()
            if errors and error > errors[-1] - gain:
                break
            chosen, errors = trial, [*errors, error]
            residual = solution.left_out[best]
            if len(chosen) < limit:
                price = _told(joint, sketches, penalties[best])
        return cls(chosen, errors, [blocks[name] for name in chosen])

    def forward(self, layers: Layers) -> Float[Tensor, "n w"]:
        """Join the chosen layers, each at the same total variance.

        Args:
            layers: what the chosen layers hold, and any others.

        Raises:
            LayerwiseError: a chosen layer is missing.
        """
        chosen = zip(self.blocks, pick(layers, self.layers), strict=True)
        return torch.cat([block(features) for block, features in chosen], 1)


def _units(targets: Tensor) -> Standardise:
    """What makes the targets comparable."""
    numbers = columns(targets).double()
    if len(numbers) == 0 or bool((numbers == numbers[0]).all()):
        raise LayerwiseError("the targets do not vary over the rows; there is nothing to tell")
    return Standardise.fit(numbers)


def _left(solver: Decomposition, residual: Tensor, penalties: Tensor) -> float:
    """Part of the error that a layer alone cannot take away."""
    centred = residual - residual.mean(0)
    errors = solver.left_out(centred, penalties).square().mean((1, 2))
    return (errors.min() / residual.square().mean()).item()


def _sketch(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
    """Few random sums of many features: how much of them is predicted is nearly how much of all."""
    if rows.shape[1] <= _SKETCHED:
        return rows
    generator = torch.Generator(rows.device).manual_seed(0)
    sums = torch.randn(
        rows.shape[1], _SKETCHED, generator=generator, dtype=rows.dtype, device=rows.device
    )
    return rows @ sums


def _told(
    joint: Decomposition, candidates: Mapping[str, Float[Tensor, "n _"]], penalty: Tensor
) -> dict[str, float]:
    """Part of each layer's variance that the chosen ones predict."""
    every = torch.cat(list(candidates.values()), 1)
    open_ = joint.left_out(every, penalty.reshape(1))[0].square().sum(0)
    widths = [x.shape[1] for x in candidates.values()]
    parts = zip(open_.split(widths), every.square().sum(0).split(widths), strict=True)
    told = [max(0.0, 1 - (left.sum() / whole.sum()).item()) for left, whole in parts]
    return dict(zip(candidates, told, strict=True))
