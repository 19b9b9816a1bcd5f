"""Does an explanation depend on what the network has learnt? Its weights are scrambled to see.

From the last layer down, more and more weights lose what they have learnt (Adebayo 2018). An
explanation of it has to change; one that draws the edges of a picture does not. The rank
correlation between the explanation before and after says how much of it is left. Scrambling is
ours: the numbers of each weight tensor are put in another order, which keeps their size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._gradient_x_input import gradient_x_input
from layerwise.models import Network
from layerwise.models._address import Address

Explain = Callable[[Network, Inputs, Tensor], Tensor]
"""Explains a batch: one number a place, `[n 1 h w]` or `[n t 1]`."""


@final
@dataclass(frozen=True)
class Randomisation:
    """How much of an explanation is left when weights are scrambled from the top down.

    Args:
        shares: part of the layers that are scrambled, rising to 1.
        likeness: rank correlation with the explanation of the whole network, by share and sample.
    """

    shares: Float[Tensor, " k"]
    likeness: Float[Tensor, "k n"]

    @property
    def left(self) -> Float[Tensor, " n"]:
        """What is left where all weights are random: near 0 is good, near 1 shows edges only."""
        return self.likeness[-1]


def randomisation(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    explain: Explain = gradient_x_input,
    shares: tuple[float, ...] = (0.25, 0.5, 1.0),
    seed: int = 0,
) -> Randomisation:
    """Scramble weights from the top down, and see how much an explanation changes.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        explain: the explanation.
        shares: parts of the layers that are scrambled, counted from the last.
        seed: of the order.

    Raises:
        LayerwiseError: shares that are not between 0 and 1; and as the explanation.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(9, 2), example=torch.zeros(1, 9))
        >>> blind = randomisation(network, torch.rand(1, 9), torch.tensor([0]),
        ...                       explain=lambda network, inputs, labels: inputs.unsqueeze(2))
        >>> round(blind.left.item(), 4)
        1.0
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise LayerwiseError(f"shares={shares} must be above 0 and at most 1")
    before = explain(network, inputs, labels)
    rows = []
    for share in sorted(shares):
        mixed = scrambled(network, share=share, seed=seed)
        rows.append(rank_correlation(before, explain(mixed, inputs, labels)))
    return Randomisation(torch.tensor(sorted(shares), dtype=before.dtype), torch.stack(rows))


def rank_correlation(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """Spearman's correlation between two explanations of each sample; 0 where one is constant.

    Args:
        one: one number a place.
        other: likewise.
    """
    ranks = torch.stack([_ranks(one.flatten(1)), _ranks(other.flatten(1))])
    centred = ranks - ranks.mean(2, keepdim=True)
    scale = centred.square().sum(2).prod(0).sqrt()
    shared = (centred[0] * centred[1]).sum(1)
    return torch.where(scale > 0, shared / scale.clamp(min=1e-30), 0).to(one.dtype)


def _ranks(values: Tensor) -> Tensor:
    """Ranks of each row, equal values sharing the mean of theirs."""
    rows = []
    for row in values:
        _, place, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        rows.append((last - (counts.double() - 1) / 2)[place])
    return torch.stack(rows)


def scrambled(network: Network, *, share: float = 1.0, seed: int = 0) -> Network:
    """A copy of a network with the weights of its last layers in another order.

    Args:
        network: the network, which is left as it was.
        share: part of its layers, counted from the last.
        seed: of the order.
    """
    position: dict[str, int] = {}
    for layer in network.layers:
        address = Address.parse(layer.name)
        assert address is not None
        position.setdefault(address.module, layer.position)
    modules = dict(network.module.named_modules())
    names = [name for name in position if name in modules and modules[name]._parameters]
    names.sort(key=position.__getitem__)
    last = names[len(names) - max(1, round(share * len(names))) :]
    replaced = {f"{name}.{own}" for name in last for own in modules[name]._parameters}
    other = copy.deepcopy(network.module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            if share == 1 or name in replaced:
                weight.copy_(weight.flatten()[order].view_as(weight))
    mixed = Network(
        other,
        name=f"{network.name}-scrambled",
        modality=network.modality,
        prepare=network.prepare,
        collate=network.collate,
        example=network.example,
    )
    mixed.layers = network.layers  # they have not changed, and to find them takes ten forwards
    return mixed
