"""Comprehensiveness and sufficiency: what is left of a prediction without, and with only, a part.

The most important places are taken away, or kept alone, at several shares, and the mean fall of the
label's probability is taken (DeYoung 2020). A faithful explanation has high comprehensiveness and
low sufficiency. At least one place is taken at every share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._faithfulness import Scale, fitted, probabilities
from layerwise.explain._hide import Hide, covered
from layerwise.explain._target import Target, chosen
from layerwise.models import Network
from layerwise.models._examples import repeated


@final
@dataclass(frozen=True)
class Erasure:
    """How a prediction falls, by share and sample.

    Args:
        without: fall of the probability when the most important places are hidden.
        alone: fall when all others are.
    """

    without: Float[Tensor, "s n"]
    alone: Float[Tensor, "s n"]

    @property
    def comprehensiveness(self) -> Float[Tensor, " n"]:
        """Mean fall without the most important places; high is good."""
        return self.without.mean(0)

    @property
    def sufficiency(self) -> Float[Tensor, " n"]:
        """Mean fall with nothing else; low is good."""
        return self.alone.mean(0)


def erasure(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    heat: Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"],
    *,
    target: Target | None = None,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    hide: Hide = covered,
    scale: Scale = probabilities,
    among: Tensor | None = None,
) -> Erasure:
    """Hide the most important places, and all others, at several shares.

    Args:
        network: the network, which is left as it was.
        inputs: the batch that was explained.
        labels: column of the target, for each sample.
        heat: the explanations, of any fineness.
        target: what was explained; the default is what the network returns.
        shares: parts of the places, above 0 and at most 1.
        hide: how places are hidden.
        scale: makes comparable numbers of the target's columns.
        among: true at places that may be hidden, in the shape of the inputs' places; marks of a
            text's beginning and end, say, are always seen.

    Raises:
        LayerwiseError: shares out of range, a heat that does not belong to the inputs.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Linear(4, 2, bias=False)
        >>> _ = module.weight.data.copy_(torch.tensor([[8.0, 0, 0, 0], [0, 0, 0, 0]]))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> heat = torch.tensor([[[1.0], [0.0], [0.0], [0.0]]])
        >>> found = erasure(network, torch.ones(1, 4), torch.tensor([0]), heat, shares=[0.25])
        >>> bool(found.without[0, 0] > 0.4), bool(found.alone[0, 0] < 0.1)
        (True, True)
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise LayerwiseError(f"shares={list(shares)} must be above 0 and at most 1")
    n = require_inputs(inputs)
    if len(heat) != n or not bool(heat.isfinite().all()):
        raise LayerwiseError(
            f"the heat of shape {list(heat.shape)} does not belong to {n} inputs, or is not finite"
        )
    flat = fitted(heat, inputs).flatten(1)
    free = torch.ones_like(flat, dtype=torch.bool) if among is None else among.flatten(1).bool()
    without, alone = [], []
    for i in range(n):
        keeps = _keeps(flat[i], free[i], shares).to(heat.dtype)
        sample = repeated(part(inputs, i, i + 1), len(keeps))
        said = scale(hide(network, sample, keep=keeps, target=target))
        p = chosen(said, labels[i : i + 1].expand(len(keeps)))
        without.append(p[0] - p[1 : len(shares) + 1])
        alone.append(p[0] - p[len(shares) + 1 :])
    return Erasure(torch.stack(without, 1), torch.stack(alone, 1))


def _keeps(values: Tensor, free: Tensor, shares: Sequence[float]) -> Tensor:
    """What is seen: all; all but the best, for every share; the best alone, for every share."""
    order = values.masked_fill(~free, -torch.inf).argsort(descending=True, stable=True)
    rank = order.argsort()
    most = int(free.sum())
    best = torch.stack([free & (rank < max(1, round(share * most))) for share in shares])
    return torch.cat([torch.ones_like(best[:1]), ~best, best | ~free])
