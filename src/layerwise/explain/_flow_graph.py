"""The part of an information flow that leads to one place at the top, as a graph (P011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._decoder import Block, blocks_of, matrix_of
from layerwise.explain._information_flow import InformationFlow, contribution
from layerwise.models import Network
from layerwise.taps import read

Kind = Literal["attention", "kept", "mlp", "passed"]


@final
@dataclass(frozen=True)
class Edge:
    """One way into the stream of a place.

    Args:
        kind: through `attention`, from the same place's stream beside it (`kept`), through the
            `mlp`, or from the stream beside that (`passed`).
        block: number of the block.
        source: place it comes from.
        target: place it leads to.
        weight: share of what meets there.
        heads: heads of an attention edge and their shares, the strongest first.
    """

    kind: Kind
    block: int
    source: int
    target: int
    weight: float
    heads: tuple[tuple[int, float], ...] = ()


def flow_graph(
    flow: InformationFlow, *, text: int = 0, place: int = -1, threshold: float = 0.04
) -> tuple[Edge, ...]:
    """Go down from the stream above the last block along all edges above a threshold.

    Args:
        flow: as `information_flow` gives it.
        text: which text.
        place: of the prediction that is traced.
        threshold: share that an edge must exceed; heads are summed before.

    Raises:
        LayerwiseError: no such text or place.

    Example:
        >>> from layerwise.explain import information_flow
        >>> from layerwise.vocabulary import examples
        >>> flow = information_flow(**examples(information_flow))
        >>> graph = flow_graph(flow, threshold=0.2)
        >>> {edge.target for edge in graph if edge.block == 2}
        {4}
    """
    texts, places = flow.predicted.shape
    if not (-texts <= text < texts and -places <= place < places):
        raise LayerwiseError(
            f"there are {texts} texts of {places} places, and no place {place} of text {text}"
        )
    edges: list[Edge] = []
    reached = {place % places}
    for block in reversed(range(len(flow.mlp))):
        mlp, passed, kept = (
            part[block, text].tolist() for part in (flow.mlp, flow.passed, flow.kept)
        )
        middle: set[int] = set()
        for q in sorted(reached):
            ways: tuple[tuple[Kind, float], ...] = (("mlp", mlp[q]), ("passed", passed[q]))
            found = [Edge(kind, block, q, q, weight) for kind, weight in ways if weight > threshold]
            edges += found
            middle |= {q} if found else set()
        below: set[int] = set()
        for q in sorted(middle):
            found = _attention(flow.attention[block, text, q], block, q, threshold)
            if kept[q] > threshold:
                found.append(Edge("kept", block, q, q, kept[q]))
            edges += found
            below |= {edge.source for edge in found}
        reached = below
    return tuple(edges)


def strong_edges(flow: InformationFlow, floor: float, *, text: int = 0) -> tuple[Edge, ...]:
    """Every edge above a share, whatever it leads to, block after block.

    Args:
        flow: as `information_flow` gives it.
        floor: share that an edge must exceed.
        text: which text.
    """
    edges: list[Edge] = []
    for block in range(len(flow.mlp)):
        for q in range(flow.mlp.shape[2]):
            edges += _attention(flow.attention[block, text, q], block, q, floor)
            alone: tuple[tuple[Kind, Tensor], ...] = (
                ("kept", flow.kept),
                ("mlp", flow.mlp),
                ("passed", flow.passed),
            )
            for kind, shares in alone:
                share = float(shares[block, text, q])
                if share > floor:
                    edges.append(Edge(kind, block, q, q, share))
    return tuple(edges)


def _attention(
    shares: Float[Tensor, "t h"], block: int, target: int, threshold: float
) -> list[Edge]:
    edges = []
    for source in (shares.sum(1) > threshold).nonzero().flatten().tolist():
        order = shares[source].argsort(descending=True, stable=True).tolist()
        heads = tuple((head, float(shares[source, head])) for head in order)
        weight = float(shares[source].sum())
        edges.append(Edge("attention", block, source, target, weight, heads))
    return edges


def neuron_shares(
    network: Network, token_ids: Tensor, block: int, *, text: int = 0, place: int = -1
) -> Float[Tensor, " m"]:
    """What each neuron of a block's MLP contributes to the stream that leaves it.

    The rest, to a sum of 1, is the stream's.

    Args:
        network: a decoder of `transformers`.
        token_ids: texts of one length.
        block: number of the block.
        text: which text.
        place: at which place.

    Example:
        >>> from layerwise.explain import information_flow
        >>> from layerwise.vocabulary import examples
        >>> given = examples(information_flow)
        >>> neuron_shares(given["language_model"], given["token_ids"], 1).shape
        torch.Size([12])
    """
    part = blocks_of(network)[block]
    inputs = {"input_ids": token_ids[text : text + 1].to(network.device)}
    seen = read(network, inputs, [part.neurons, part.mlp, part.output])
    neurons, added, left = (seen[name][0, place] for name in (part.neurons, part.mlp, part.output))
    return shares_of_neurons(part, neurons, added, left)


def shares_of_neurons(
    block: Block,
    neurons: Float[Tensor, " m"],
    added: Float[Tensor, " d"],
    left: Float[Tensor, " d"],
) -> Float[Tensor, " m"]:
    """The same, of what was read at one place.

    Args:
        block: whose neurons they are.
        neurons: what flows into the last linear map of the MLP.
        added: what the MLP gives.
        left: the stream after it.
    """
    down, bias = matrix_of(block.down)
    parts = neurons[:, None] * down
    if bias is not None:
        parts = parts + bias / len(parts)
    shares = contribution(torch.cat([parts, (left - added)[None]]), left)
    return (shares / shares.sum())[:-1]
