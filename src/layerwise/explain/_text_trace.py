"""All that a page on one text shows: its flow, what the parts promote, and every layer's guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._decoder import Block, blocks_of, matrix_of
from layerwise.explain._flow_graph import Edge, flow_graph, shares_of_neurons, strong_edges
from layerwise.explain._information_flow import information_flow
from layerwise.features import Features
from layerwise.models import Network, TextPreparation
from layerwise.models._hooks import at_rest
from layerwise.taps import Unembed, read

_SAID = 5
"""Tokens that are named."""


@final
@dataclass(frozen=True)
class Guess:
    """What a state would say if it were the last one.

    Args:
        token: the likeliest.
        probability: of it.
    """

    token: str
    probability: float


@final
@dataclass(frozen=True)
class Part:
    """What a head, an MLP or a neuron writes into the stream of a place.

    Args:
        name: such as `head 3`, `mlp` or `neuron 17`.
        block: number of the block.
        place: whose stream it is.
        share: of what meets there.
        promoted: tokens that it makes likelier, most of all first.
        suppressed: tokens that it makes less likely.
    """

    name: str
    block: int
    place: int
    share: float
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


@final
@dataclass(frozen=True)
class TextTrace:
    """How a language model comes to its prediction for one text.

    Args:
        network: its name.
        tokens: of the text.
        place: of the prediction that the parts belong to.
        predictions: the likeliest next tokens there.
        edges: everything that contributes more than the floor, at all places.
        floor: share below which edges are left out.
        parts: heads, MLPs and neurons in the graph above the threshold.
        threshold: of that graph.
        states: addresses of the lens: what enters the first block, and each block.
        lens: guess of each state at each place.
        error: largest distance of a block's output from the sum of its parts, as a share of it.
    """

    network: str
    tokens: tuple[str, ...]
    place: int
    predictions: tuple[Guess, ...]
    edges: tuple[Edge, ...]
    floor: float
    parts: tuple[Part, ...]
    threshold: float
    states: tuple[str, ...]
    lens: tuple[tuple[Guess, ...], ...]
    error: float


def trace_text(
    network: Network, text: str, *, place: int = -1, threshold: float = 0.04, floor: float = 0.01
) -> TextTrace:
    """Trace a text through a language model.

    Args:
        network: a decoder of `transformers` with its tokenizer.
        text: no longer than the network can take.
        place: token whose next one is traced.
        threshold: share above which parts are looked into.
        floor: share above which edges are kept.

    Raises:
        LayerwiseError: the network has no tokenizer or cannot be traced, the text is too long, or
            it has no such place.
    """
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        raise LayerwiseError(
            f"{network.name} has no tokenizer; give a language model such as smollm2-135m"
        )
    prepared = prepare(text)
    if prepared["truncated"]:
        raise LayerwiseError(
            f"the text has more than the {prepare.length} tokens that {network.name} takes; give a "
            "shorter one"
        )
    ids = prepared["input_ids"][None].to(network.device)
    flow = information_flow(network, ids)
    graph = flow_graph(flow, place=place, threshold=threshold)
    at = place % ids.shape[1]
    unembed, blocks = Unembed(network), blocks_of(network)
    states = [blocks[0].entry, *(block.output for block in blocks)]
    seen = read(network, {"input_ids": ids}, [*states, *_looked_into(blocks)])
    lens = tuple(_guesses(unembed(seen[state][0]), prepare) for state in states)
    return TextTrace(
        network=network.name,
        tokens=_words(prepare, ids[0]),
        place=at,
        predictions=_likeliest(unembed(seen[states[-1]][0, at]), prepare),
        edges=strong_edges(flow, floor),
        floor=floor,
        parts=tuple(_parts(graph, blocks, seen, unembed=unembed, prepare=prepare)),
        threshold=threshold,
        states=tuple(states),
        lens=lens,
        error=float(flow.error.max()),
    )


def _looked_into(blocks: list[Block]) -> list[str]:
    return [name for block in blocks for name in (block.joined, block.mlp, block.neurons)]


def _parts(
    graph: tuple[Edge, ...],
    blocks: list[Block],
    seen: Features,
    *,
    unembed: Unembed,
    prepare: TextPreparation,
) -> list[Part]:
    """The strongest heads of every place that attends, and every MLP with its strongest neurons."""
    names: list[tuple[str, int, int, float]] = []
    vectors: list[Tensor] = []
    heads: dict[tuple[int, int, int], float] = {}
    for edge in graph:
        for head, share in edge.heads[:3]:
            key = (edge.block, edge.target, head)
            heads[key] = heads.get(key, 0.0) + share
    with at_rest(unembed.network.module):
        for (number, place, head), share in heads.items():
            block = blocks[number]
            out, _ = matrix_of(block.projection)
            width = len(out) // block.heads
            rows = slice(head * width, (head + 1) * width)
            names.append((f"head {head}", number, place, share))
            vectors.append(seen[block.joined][0, place, rows] @ out[rows])
        for edge in graph:
            if edge.kind != "mlp":
                continue
            block = blocks[edge.block]
            names.append(("mlp", edge.block, edge.target, edge.weight))
            vectors.append(seen[block.mlp][0, edge.target])
            read_there = (seen[n][0, edge.target] for n in (block.neurons, block.mlp, block.output))
            shares = shares_of_neurons(block, *read_there)
            down, _ = matrix_of(block.down)
            for neuron in shares.topk(min(3, len(shares))).indices.tolist():
                names.append((f"neuron {neuron}", edge.block, edge.target, float(shares[neuron])))
                vectors.append(seen[block.neurons][0, edge.target, neuron] * down[neuron])
    if not vectors:
        return []
    logits = unembed(torch.stack(vectors))
    order = logits.topk(_SAID).indices, logits.topk(_SAID, largest=False).indices
    return [
        Part(*name, _words(prepare, most), _words(prepare, least))
        for name, most, least in zip(names, *order, strict=True)
    ]


def _guesses(logits: Float[Tensor, "t v"], prepare: TextPreparation) -> tuple[Guess, ...]:
    best = logits.softmax(1).max(1)
    words = _words(prepare, best.indices)
    return tuple(map(Guess, words, best.values.tolist()))


def _likeliest(logits: Float[Tensor, " v"], prepare: TextPreparation) -> tuple[Guess, ...]:
    best = logits.softmax(0).topk(_SAID)
    return tuple(map(Guess, _words(prepare, best.indices), best.values.tolist()))


def _words(prepare: TextPreparation, ids: Int[Tensor, " t"]) -> tuple[str, ...]:
    """Tokens as they are written, each by itself."""
    return tuple(prepare.tokenizer.decode([number]) for number in ids.tolist())
