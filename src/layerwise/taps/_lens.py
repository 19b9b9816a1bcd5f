"""The logit lens: what a language model would say if a layer were its last one.

The states of every layer pass the final norm and the head, and the prediction that comes out is
compared with the network's own. A `cast` may bring the states closer to final ones before, as the
linear shortcut does. Vocabularies are large: a few rows are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps._read import read
from layerwise.taps._unembed import Unembed

Cast = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Turns the states of layers, `[n d]` by address, into what they would be at the end."""

_BATCH = 2048  # tokens in a forward


@final
@dataclass(frozen=True)
class Lens:
    """What each layer predicts at each token, beside what the network predicts in the end.

    Args:
        layers: addresses, the last block last.
        agrees: whether the layer's first choice is the network's.
        overlap: share of the network's first choices that are among as many of the layer's.
        divergence: KL divergence from the network's distribution to the layer's, in nats.
        surprisal: `-log p` that the layer gives to the network's first choice.
        confidence: probability of the layer's own first choice.
        place: how far into its text each token stands, from 0 to 1.
    """

    layers: tuple[str, ...]
    agrees: Bool[Tensor, "l n"]
    overlap: Float[Tensor, "l n"]
    divergence: Float[Tensor, "l n"]
    surprisal: Float[Tensor, "l n"]
    confidence: Float[Tensor, "l n"]
    place: Float[Tensor, " n"]

    @property
    def agreement(self) -> Float[Tensor, " l"]:
        """Share of tokens at which a layer's first choice is the network's."""
        return self.agrees.to(self.confidence.dtype).mean(1)

    def exit(self, level: float) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
        """Stop at the first layer that is sure enough, with the falling threshold of CALM.

        At a place `t` of a text it must be `0.9 level + 0.1 exp(-4 t)` sure (Schuster et al. 2022).

        Args:
            level: how sure; 0 to 1.

        Returns:
            The share of the layers that each token ran through, and whether its answer stayed.
        """
        threshold = 0.9 * level + 0.1 * torch.exp(-4 * self.place)
        sure = self.confidence >= threshold
        sure[-1] = True
        first = sure.int().argmax(0)
        return first / (len(self.layers) - 1), self.agrees.gather(0, first[None])[0]


def logit_lens(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    *,
    layers: str | None = None,
    cast: Cast | None = None,
    mask: Bool[Tensor, "n t"] | None = None,
    top: int = 5,
) -> Lens:
    """Read every layer as if it were the last one.

    Args:
        language_model: its last block must be followed by a norm and a head alone.
        token_ids: texts, padded on the right.
        layers: addresses or patterns of what hands on the stream; without it the embedding and all
            blocks. The last block is always read.
        cast: what the states pass before the final norm; without it they stay as they are.
        mask: which tokens are real; all without it.
        top: choices that `overlap` compares.

    Raises:
        LayerwiseError: no tokens, no such layer, or a network that is no language model.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> given = examples(logit_lens)
        >>> lens = logit_lens(**given)
        >>> lens.agreement[-1].item(), lens.divergence[-1].max().item() < 1e-5
        (1.0, True)
    """
    unembed = Unembed(language_model)
    if top < 1 or top > unembed.vocabulary:
        raise LayerwiseError(f"top={top} choices of {unembed.vocabulary}; give at least 1")
    names = stream_layers(language_model, layers, last=unembed.block)
    real = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask
    if not bool(real.any()):
        raise LayerwiseError("there are no tokens to look at; give at least one text")
    found: list[Tensor] = []
    for ids, kept in _batches(token_ids, real):
        states = read(language_model, {"input_ids": ids}, names)
        rows = {name: states[name][kept] for name in names}
        final_ = rows[unembed.block]
        shown = rows if cast is None else cast(rows)
        found.append(_compare(unembed, {name: shown[name] for name in names}, final_, top))
    values = torch.cat(found, 2)
    place = torch.arange(token_ids.shape[1]).expand_as(token_ids)[real] / token_ids.shape[1]
    agrees, overlap, divergence, surprisal, confidence = values
    return Lens(
        tuple(names),
        agrees.bool(),
        overlap,
        divergence,
        surprisal,
        confidence,
        place.to(values),
    )


def stream_layers(network: Network, layers: str | None, *, last: str) -> list[str]:
    """The layers that hand on the residual stream, up to the last block, which is one of them."""
    if layers is None:
        chosen = [layer for layer in network.layers if layer.kind in ("stem", "block")]
    else:
        chosen = list(network.layers.select(layers))
    end = network.layers[last]
    fit = [
        layer.name
        for layer in chosen
        if layer.position < end.position and layer.layout and layer.width == end.width
    ]
    return [*fit, last]


def _batches(token_ids: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
    rows = max(1, _BATCH // max(1, token_ids.shape[1]))
    return list(zip(token_ids.split(rows), real.split(rows), strict=True))


def _compare(
    unembed: Unembed, shown: Mapping[str, Tensor], last: Tensor, top: int
) -> Float[Tensor, "5 l n"]:
    """Agreement, overlap, divergence, surprisal and confidence of every layer at every row."""
    parts = []
    for rows, truth in unembed.blocks(last):
        choices = truth.topk(top, dim=1).indices
        table = []
        for states in shown.values():
            said = unembed(states[rows]).log_softmax(1)
            own = said.topk(top, dim=1).indices
            shared = (own[:, :, None] == choices[:, None]).any(2).to(said.dtype).mean(1)
            table.append(
                torch.stack(
                    [
                        (own[:, 0] == choices[:, 0]).to(said.dtype),
                        shared,
                        (truth.exp() * (truth - said)).sum(1).clamp(min=0),
                        -said.gather(1, choices[:, :1])[:, 0],
                        said.max(1).values.exp(),
                    ]
                )
            )
        parts.append(torch.stack(table, 1))
    return torch.cat(parts, 2)
