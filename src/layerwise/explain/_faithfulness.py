"""Does an explanation say what the network looks at? Deletion and insertion, against chance.

The most important places are hidden first and the label's probability is followed: it should fall
at once (deletion); shown first on a blank input, they should bring it back at once (insertion). The
area under each curve depends on the network, the sample and how fine a map is more than on the
explanation, so the same is done, at the same cost, with the explanation put in another place: its
map rolled and mirrored at random, or a text's numbers shuffled. What counts is by how much an
explanation is better than those; noise pixel by pixel would be no fair match for a smooth map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._hide import Hide, covered, places_of
from layerwise.explain._target import Target, chosen
from layerwise.models import Network
from layerwise.models._examples import repeated

Scale = Callable[[Tensor], Tensor]
"""Makes numbers that can be compared out of a target's columns."""


def probabilities(columns: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Softmax over the columns.

    Args:
        columns: logits.
    """
    return columns.softmax(1)


@final
@dataclass(frozen=True)
class Faithfulness:
    """How well explanations fit a network, one number for each sample.

    Args:
        deletion: area under the curve when the most important places go first; low is good.
        insertion: area under the curve when they come first; high is good.
        random_deletion: the mean of the same for the explanation in other places.
        random_insertion: likewise.
    """

    deletion: Float[Tensor, " n"]
    insertion: Float[Tensor, " n"]
    random_deletion: Float[Tensor, " n"]
    random_insertion: Float[Tensor, " n"]

    @property
    def score(self) -> Float[Tensor, " n"]:
        """By how much it beats chance, deletion and insertion together: 0 is as good as random."""
        own = self.insertion - self.deletion
        return own - (self.random_insertion - self.random_deletion)


def faithfulness(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    heat: Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"],
    *,
    target: Target | None = None,
    steps: int = 10,
    draws: int = 3,
    hide: Hide = covered,
    scale: Scale = probabilities,
    generator: torch.Generator | None = None,
) -> Faithfulness:
    """Judge explanations by what the network does without the places that they point at.

    Args:
        network: the network, which is left as it was.
        inputs: the batch that was explained.
        labels: column of the target, for each sample.
        heat: the explanations, of any fineness.
        target: what was explained; the default is what the network returns.
        steps: parts in which the places go and come.
        draws: other places to compare with; each costs as much as the explanation's own.
        hide: how places are hidden.
        scale: makes comparable numbers of the target's columns.
        generator: for the other places; the default is a fresh one.

    Raises:
        LayerwiseError: `steps` or `draws` below 1, a heat that does not belong to the inputs or is
            not finite, or what the network says of them.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Linear(4, 2, bias=False)
        >>> _ = module.weight.data.copy_(torch.tensor([[8.0, 0, 0, 0], [0, 0, 0, 0]]))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> heat = torch.tensor([[[1.0], [0.0], [0.0], [0.0]]])
        >>> bool(faithfulness(network, torch.ones(1, 4), torch.tensor([0]), heat).score > 0)
        True
    """
    if steps < 1 or draws < 1:
        raise LayerwiseError(f"steps={steps} and draws={draws}; give at least 1 of each")
    n = require_inputs(inputs)
    if len(heat) != n or not bool(heat.isfinite().all()):
        raise LayerwiseError(
            f"the heat of shape {list(heat.shape)} does not belong to {n} inputs, or is not finite"
        )
    generator = generator or torch.Generator().manual_seed(0)
    rows: list[Tensor] = []
    for i in range(n):
        sample, label = part(inputs, i, i + 1), labels[i : i + 1]
        chance = [_elsewhere(heat[i], generator) for _ in range(draws)]
        maps = fitted(torch.stack([heat[i], *chance]), inputs)
        curves = _curves(
            network, sample, label, maps, target=target, steps=steps, hide=hide, scale=scale
        )
        areas = torch.trapezoid(curves, dim=2) / steps
        rows.append(torch.cat([areas[:, 0], areas[:, 1:].mean(1)]))
    deletion, insertion, random_deletion, random_insertion = torch.stack(rows, 1)
    return Faithfulness(deletion, insertion, random_deletion, random_insertion)


def fitted(heat: Tensor, inputs: Inputs) -> Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"]:
    """Explanations made as fine as the inputs, bilinearly for pictures.

    Args:
        heat: `[n 1 h w]`, or `[n t 1]` for texts and rows of numbers.
        inputs: a batch, for its size.

    Raises:
        LayerwiseError: they are of another kind than the inputs.
    """
    places = places_of(inputs)
    if heat.ndim == 4 and len(places) == 2:
        return torch.nn.functional.interpolate(heat, places, mode="bilinear", align_corners=False)
    if heat.ndim == 3 and heat.shape[1:] == (*places, 1):
        return heat
    raise LayerwiseError(
        f"a heat of shape {list(heat.shape)} does not fit inputs with "
        f"{' x '.join(map(str, places))} places; give [n 1 h w] for pictures, else [n t 1]"
    )


def _elsewhere(heat: Tensor, generator: torch.Generator) -> Tensor:
    """The same explanation in another place."""
    if heat.ndim == 2:
        return heat[torch.randperm(len(heat), generator=generator).to(heat.device)]
    down, right = (int(torch.randint(side, (), generator=generator)) for side in heat.shape[1:])
    turned = heat.roll((down, right), (1, 2))
    return turned.flip(2) if bool(torch.rand((), generator=generator) < 0.5) else turned


def _curves(
    network: Network,
    sample: Inputs,
    label: Tensor,
    maps: Tensor,
    *,
    target: Target | None,
    steps: int,
    hide: Hide,
    scale: Scale,
) -> Float[Tensor, "2 m k"]:
    """What the network says while each map's places go, and while they come."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1).to(maps.dtype) / order.shape[1]
    shares = torch.linspace(0, 1, steps + 1, dtype=maps.dtype, device=maps.device)
    gone = rank.unsqueeze(1) < shares.view(1, -1, 1)  # [m k places]
    keeps = torch.stack([~gone, gone]).flatten(0, 2).to(maps.dtype)
    columns = [
        hide(network, repeated(sample, len(keep)), keep=keep, target=target)
        for keep in keeps.split(64)
    ]
    said = chosen(scale(torch.cat(columns)), label.expand(len(keeps)))
    return said.view(2, len(maps), steps + 1)
