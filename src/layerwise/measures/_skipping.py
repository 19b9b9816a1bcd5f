"""What is missed when a block is left out: by the blocks after it, and by the prediction.

A block is skipped at some places of a text, so that what flows in flows out there; the network runs
on from it. What each later block adds to the stream is compared with what it added before, and so
is the distribution over next tokens. Skipped at all places, everything that follows is looked at.
Skipped only before a place, the tokens from there on show what they needed of the past: whether the
block's work is used by later tokens or only for the next word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.models import Layer, Network
from layerwise.taps import Unembed, read, tap


@final
@dataclass(frozen=True)
class Skipped:
    """Effects of leaving out one block after the other, for each text.

    Args:
        later: of leaving out the block of a row on what the block of a column adds: the length of
            the difference over the length without it, the most over all tokens. 0 for blocks that
            are not later.
        output: on the next token's distribution: the length of the difference of probabilities,
            the most over all tokens.
    """

    later: Float[Tensor, "n l l"]
    output: Float[Tensor, "n l"]


def skipping(
    network: Network,
    token_ids: Int[Tensor, "n t"],
    blocks: list[Layer],
    unembed: Unembed,
    *,
    mask: Bool[Tensor, "n t"],
    split: int,
) -> tuple[Skipped, Skipped]:
    """Leave out each block at all places, and only before a place.

    Args:
        network: the language model.
        token_ids: texts of one length.
        blocks: what is left out in turn.
        unembed: of the network.
        mask: which tokens are real.
        split: the first place that is looked at where only the past is skipped.

    Returns:
        The effects on everything that follows, and of the past on what comes from `split` on.
    """
    n, length = token_ids.shape
    twice = {"input_ids": token_ids.repeat(2, 1)}
    past = torch.arange(length, device=token_ids.device) < split
    where = torch.cat([torch.ones_like(mask), past.expand_as(mask)])
    seen = torch.cat([mask, mask & ~past])
    before, states = _added(network, {"input_ids": token_ids}, blocks)
    before, truth = before.repeat(1, 2, 1, 1), _probabilities(unembed, states)
    later = before.new_zeros(len(blocks), len(blocks), 2 * n)
    output = before.new_zeros(len(blocks), 2 * n)
    for i, block in enumerate(blocks):
        with _without(network, block, where):
            after, states = _added(network, twice, blocks)
        change = (after - before).norm(dim=3) / before.norm(dim=3).clamp(min=1e-30)
        later[i, i + 1 :] = _most(change[i + 1 :], seen)
        said = _probabilities(unembed, states)
        output[i] = _most(torch.cat([(half - truth).norm(dim=2) for half in said.split(n)]), seen)
    halves = zip(later.permute(2, 0, 1).split(n), output.T.split(n), strict=True)
    everything, future = (Skipped(*half) for half in halves)
    return everything, future


def _added(
    network: Network, inputs: Mapping[str, Tensor], blocks: list[Layer]
) -> tuple[Float[Tensor, "l n t d"], Float[Tensor, "n t d"]]:
    """What each block adds to the stream, and the stream after the last one."""
    entries = {block.name: network.layers.entry(block).name for block in blocks}
    states = read(network, inputs, [*entries, *entries.values()])
    added = torch.stack([states[name] - states[entry] for name, entry in entries.items()])
    return added, states[blocks[-1].name]


@contextmanager
def _without(network: Network, block: Layer, where: Bool[Tensor, "n t"]) -> Iterator[None]:
    """Let what flows into a block flow out of it at some places."""
    entry = network.layers.entry(block)
    entered: list[Tensor] = []

    def receive(layer: Layer, value: Tensor) -> Tensor | None:
        if layer.name == entry.name:
            entered.append(value)
            return None
        return torch.where(where[:, :, None], entered.pop(), value)

    with tap(network, [entry.name, block.name], receive):
        yield


def _probabilities(unembed: Unembed, states: Float[Tensor, "n t d"]) -> Float[Tensor, "n t v"]:
    rows = [block.exp() for _, block in unembed.blocks(states.flatten(0, 1))]
    return torch.cat(rows).unflatten(0, states.shape[:2])


def _most(values: Float[Tensor, "*l n t"], seen: Bool[Tensor, "n t"]) -> Float[Tensor, "*l n"]:
    return values.masked_fill(~seen, 0.0).amax(-1)
