"""How much a branch says beside the stream it is added to.

For every addition to the residual stream of every block: the length of the branch over that of the
stream, and the cosine between them. Above 0 a branch strengthens what is there, below 0 it erases,
near 0 it writes something new. The layers' own kinds say whether a branch holds the attention or
the MLP; `whole` is all that a block adds, where adding is all that it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest, usable
from layerwise.taps import Addition, additions

Part = Literal["attention", "mlp", "both", "other", "whole"]


@final
@dataclass(frozen=True)
class Branch:
    """One branch of one block, or all of them together.

    Args:
        block: its layer.
        part: what the branch holds.
        ratio: `[n t]` its length over that of the stream it is added to, place by place.
        cosine: `[n t]` between the two.
    """

    block: Layer
    part: Part
    ratio: Float[Tensor, "n t"]
    cosine: Float[Tensor, "n t"]


def branches(
    network: Network, inputs: Tensor | Mapping[str, Tensor], *, blocks: str = "kind:block"
) -> list[Branch]:
    """Measure every branch in one forward; none where blocks have no skips.

    Args:
        network: the network.
        inputs: a batch.
        blocks: addresses or patterns.

    Raises:
        LayerwiseError: no such layer.
    """
    network.take_example(inputs)
    found: list[Branch] = []
    whole: dict[str, tuple[Layer, Tensor, Tensor]] = {}

    def receive(added: Addition) -> None:
        layer, tokens = added.block, added.block.sure.tokens
        stream, branch = tokens(added.stream), tokens(added.branch)
        found.append(_branch(layer, _part(added), stream, branch))
        _, start, total = whole.get(layer.name, (layer, stream, torch.zeros_like(branch)))
        whole[layer.name] = (layer, start, total + branch)

    with at_rest(network.module), additions(network, receive, blocks=blocks) as purely:
        network(usable(inputs))
    together = [
        _branch(layer, "whole", start, total)
        for name, (layer, start, total) in whole.items()
        if name in purely
    ]
    return sorted([*found, *together], key=lambda branch: branch.block.position)


def _part(added: Addition) -> Part:
    has = {"attention", "mlp"} & added.kinds
    if len(has) == 2:
        return "both"
    if not has:
        return "other"
    return "attention" if "attention" in has else "mlp"


def _branch(layer: Layer, part: Part, stream: Tensor, branch: Tensor) -> Branch:
    tiny = torch.finfo(stream.dtype).tiny
    ratio = branch.norm(dim=2) / stream.norm(dim=2).clamp(min=tiny)
    return Branch(layer, part, ratio, torch.cosine_similarity(branch, stream, dim=2))
