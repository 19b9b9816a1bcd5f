"""Information flow: how a language model's prediction comes together in the residual stream (P011).

Every block adds to the stream what its attention and its MLP give. Attention is the sum over heads
and places of `A x_k W_V W_O`, the MLP the sum over neurons of `activation * W_down`, so the stream
is a sum of known parts. A part p of a whole w contributes `max(|w|_1 - |w - p|_1, 1e-5)`, brought
to a sum of 1 over all parts that meet there, the stream itself among them. From a place at the top
the graph goes down along what contributes more than a threshold.

A bias of the attention's output is shared alike by all heads and places that are seen, so that the
parts sum to the whole. Where attention and MLP run side by side, attention is taken first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._attended import Attended, attending
from layerwise.explain._decoder import Block, blocks_of, matrix_of
from layerwise.explain._differentiable import running
from layerwise.models import Network
from layerwise.models._hooks import at_rest
from layerwise.taps._tap import tap
from layerwise.taps._unembed import logits_of

_EPS = 1e-5
_CLOSE = 1e-3


@final
@dataclass(frozen=True)
class InformationFlow:
    """What every part contributes where streams meet; `n` texts of `t` places, `l` blocks.

    Args:
        attention: of what place q (first t) takes from place k through each head.
        kept: of the stream that meets what the attention gives.
        mlp: of what the MLP gives.
        passed: of the stream that meets what the MLP gives.
        predicted: the token that the network puts next at each place.
        error: largest distance of a block's output from the sum of its parts, as a share of it.
    """

    attention: Float[Tensor, "l n t t h"]
    kept: Float[Tensor, "l n t"]
    mlp: Float[Tensor, "l n t"]
    passed: Float[Tensor, "l n t"]
    predicted: Int[Tensor, "n t"]
    error: Float[Tensor, " l"]


@paper(
    "LM Transparency Tool: Interactive Tool for Analyzing Transformer Language Models",
    year=2024,
    arxiv="2404.07004",
    no=(11,),
)
def information_flow(language_model: Network, token_ids: Int[Tensor, "n t"]) -> InformationFlow:
    """Measure what every head, place and MLP contributes to the residual stream.

    Args:
        language_model: a decoder of `transformers`.
        token_ids: texts of one length, without padding.

    Raises:
        LayerwiseError: no texts, no such tokens, more than the network can take, or a network whose
            blocks are not a sum of the stream, its attention and its MLP.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> flow = information_flow(**examples(information_flow))
        >>> whole = flow.attention.sum((3, 4)) + flow.kept
        >>> bool(torch.allclose(whole, torch.ones(()), atol=1e-5))
        True
    """
    network = language_model
    _require_texts(network, token_ids)
    blocks = blocks_of(network)
    streams: dict[str, Tensor] = {}
    wanted = [name for block in blocks for name in block.layers]
    inputs = {"input_ids": token_ids.to(network.device)}
    with running(network, inputs), at_rest(network.module):
        plain = logits_of(network(inputs))
        with (
            attending(network) as attended,
            tap(network, wanted, lambda layer, value: streams.update({layer.name: value})),
        ):
            logits = logits_of(network(inputs))
        if plain is None or logits is None or _apart(logits, plain) > _CLOSE:
            raise LayerwiseError(
                f"the attention of {network.name} does more than softmax over scaled products of "
                "queries and keys; its flow cannot be taken apart"
            )
        found = [_block(block, streams, attended) for block in blocks]
    attention, kept, mlp, passed, error = (
        torch.stack(part).to(logits.dtype) for part in zip(*found, strict=True)
    )
    if bool(error.max() > _CLOSE):
        worst = blocks[int(error.argmax())].output
        raise LayerwiseError(
            f"what flows out of {worst} of {network.name} is not the sum of the stream, its "
            f"attention and its MLP (off by {float(error.max()):.1%}); its flow cannot be traced"
        )
    return InformationFlow(attention, kept, mlp, passed, logits.argmax(2), error)


def contribution(parts: Float[Tensor, "*p d"], whole: Float[Tensor, "*w d"]) -> Float[Tensor, "*p"]:
    """What parts contribute to a whole, before it is brought to a sum of 1.

    Args:
        parts: broadcast against the whole.
        whole: their sum.
    """
    return _contribution_(parts.clone(), whole)


def _contribution_(parts: Tensor, whole: Tensor) -> Tensor:
    """The same, in the memory of the parts."""
    left = whole.abs().sum(-1) - parts.sub_(whole).abs_().sum(-1)
    return left.clamp(min=_EPS)


def _block(
    block: Block, streams: dict[str, Tensor], attended: dict[torch.nn.Module, Attended]
) -> tuple[Tensor, ...]:
    wide = torch.promote_types(streams[block.output].dtype, torch.float32)
    entered, gave, added, left = (streams[name].to(wide) for name in block.layers)
    middle = entered + gave
    heads = attended[block.attention_module]
    out, bias = matrix_of(block.projection)
    carried, total = _heads(heads, out.to(wide), bias, middle)
    kept = contribution(entered, middle)
    both = carried.sum((2, 3)) + kept
    mlp, passed = contribution(added, left), contribution(middle, left)
    error = max(_apart(total, gave), _apart(middle + added, left))
    return (
        carried / both[:, :, None, None],
        kept / both,
        mlp / (mlp + passed),
        passed / (mlp + passed),
        torch.tensor(error),
    )


def _heads(
    attended: Attended, out: Float[Tensor, "e d"], bias: Tensor | None, middle: Tensor
) -> tuple[Float[Tensor, "n t t h"], Float[Tensor, "n t d"]]:
    """What each head contributes from each place, and the sum of all parts."""
    weights, values = attended.weights.to(middle), attended.values.to(middle)
    n, h, t, e = values.shape
    written = torch.einsum("nhke,hed->nkhd", values, out.reshape(h, e, -1))
    seen = weights > 0
    shared = seen / seen.sum((1, 3), keepdim=True).clamp(min=1)
    last = seen.any(1) * torch.arange(1, t + 1, device=middle.device)
    found = middle.new_zeros(n, t, t, h)
    for text in range(n):
        for place in range(t):
            reach = int(last[text, place].max())  # nothing is taken from places after this one
            part = weights[text, :, place, :reach].T[..., None] * written[text, :reach]
            if bias is not None:
                part += shared[text, :, place, :reach].T[..., None] * bias.to(part)
            share = _contribution_(part, middle[text, place])
            found[text, place, :reach] = share * seen[text, :, place, :reach].T
    total = torch.einsum("nhqk,nkhd->nqd", weights, written)
    return found, total if bias is None else total + bias.to(total)


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


def _require_texts(network: Network, token_ids: Tensor) -> None:
    if token_ids.numel() == 0:
        raise LayerwiseError("there are no tokens to trace; give at least one text of one token")
    network.take_example({"input_ids": token_ids[:1]})
    words = int(getattr(getattr(network.module, "config", None), "vocab_size", 0)) or 2**62
    if bool(((token_ids < 0) | (token_ids >= words)).any()):
        raise LayerwiseError(f"token numbers lie from 0 to {words - 1}; give those of this network")
