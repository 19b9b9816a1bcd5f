"""What a language model's neurons stand for, read off their weights alone (P068).

A row w of an MLP's up-projection is a direction of the residual stream, the one the neuron looks
for. Read as if it were the stream at the end, `softmax(U w)` with the head U, it names tokens. No
data and no forward is needed, and all neurons are decoded in blocks. The `margin` says how special
a neuron is: how far its first token stands above the second, in deviations of its logits over the
vocabulary. That a neuron does what its name says is proved by clamping it: `edit` with `Clamp`.

As in the paper the final norm is left out, so that only directions count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._address import module_of
from layerwise.models._hooks import at_rest, named_modules

_NUMBERS = 2**25  # logits that are held at a time


@final
@dataclass(frozen=True)
class Neuron:
    """One neuron that stands for a token.

    Args:
        layer: address of its layer.
        unit: its number there.
        margin: how special it is.
    """

    layer: str
    unit: int
    margin: float


@final
@dataclass(frozen=True)
class DecodedNeurons:
    """The tokens of all neurons, `l` layers of `m`.

    Args:
        layers: addresses of the layers.
        tokens: the k first tokens of each neuron, the most probable first.
        probability: of the first.
        margin: logit of the first over that of the second, in deviations over the vocabulary.
    """

    layers: tuple[str, ...]
    tokens: Int[Tensor, "l m k"]
    probability: Float[Tensor, "l m"]
    margin: Float[Tensor, "l m"]

    def of(self, token: int) -> tuple[Neuron, ...]:
        """The neurons whose first token this is, the most special first."""
        found = (self.tokens[:, :, 0] == token).nonzero().tolist()
        neurons = [Neuron(self.layers[i], j, float(self.margin[i, j])) for i, j in found]
        return tuple(sorted(neurons, key=lambda neuron: -neuron.margin))

    def agreement(self, other: DecodedNeurons) -> float:
        """Share of neurons with the same first token in another network of this architecture.

        Raises:
            LayerwiseError: the other has other layers.
        """
        if self.tokens.shape[:2] != other.tokens.shape[:2]:
            mine, theirs = list(self.tokens.shape[:2]), list(other.tokens.shape[:2])
            raise LayerwiseError(
                f"layers and neurons {mine} cannot be compared with {theirs}; decode two networks "
                f"of one architecture, the same layers of each"
            )
        return float((self.tokens[:, :, 0] == other.tokens[:, :, 0]).double().mean())


@paper(
    "Decoding specialised feature neurons in LLMs with the final projection layer",
    year=2025,
    arxiv="2501.02688",
    no=(68,),
)
def decode_neurons(
    language_model: Network, *, layers: str = "re:.*up_proj", keep: int = 5
) -> DecodedNeurons:
    """Read what the neurons of a language model stand for.

    Args:
        language_model: the network.
        layers: linear layers whose rows are directions of the residual stream: a pattern.
        keep: tokens of each neuron.

    Raises:
        LayerwiseError: no such layer, one that does not read the stream linearly, or no head.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> decoded = decode_neurons(**examples(decode_neurons))
        >>> decoded.tokens.shape, decoded.of(int(decoded.tokens[1, 7, 0]))[0].layer.split(".")[-1]
        (torch.Size([3, 12, 5]), 'up_proj')
    """
    network = language_model
    modules = named_modules(network.module)
    head = modules[module_of(_head(network).name)]
    chosen = network.layers.select(layers)
    directions = [_rows(layer, modules[module_of(layer.name)], head) for layer in chosen]
    if len({len(rows) for rows in directions}) > 1:
        counts = ", ".join(f"{la.name} {len(r)}" for la, r in zip(chosen, directions, strict=True))
        raise LayerwiseError(f"the layers have different numbers of neurons: {counts}; take fewer")
    found = [_decoded(rows, head, keep) for rows in directions]
    tokens, probability, margin = (torch.stack(part) for part in zip(*found, strict=True))
    names = tuple(layer.name for layer in chosen)
    return DecodedNeurons(names, tokens, probability, margin)


def _head(network: Network) -> Layer:
    heads = [layer for layer in network.layers if layer.kind == "head"]
    if not heads:
        raise LayerwiseError(f"{network.name} has no head of tokens; give a language model")
    return heads[-1]


def _rows(layer: Layer, module: nn.Module, head: nn.Module) -> Float[Tensor, "m d"]:
    weight, reads = getattr(module, "weight", None), head.get_parameter("weight").shape[1]
    if not isinstance(module, nn.Linear) or weight is None or weight.shape[1] != reads:
        raise LayerwiseError(
            f"layer {layer.name!r} is no linear map of the {reads} channels that the head reads; "
            f"choose one with layers="
        )
    return weight.detach()


def _decoded(
    directions: Float[Tensor, "m d"], head: nn.Module, keep: int
) -> tuple[Int[Tensor, "m k"], Float[Tensor, " m"], Float[Tensor, " m"]]:
    vocabulary = len(head.get_parameter("weight"))
    parts = []
    with at_rest(head):
        for rows in directions.split(max(1, _NUMBERS // vocabulary)):
            logits = head(rows)
            top = logits.topk(min(max(keep, 2), vocabulary), dim=1)
            spread = logits.std(dim=1).clamp(min=torch.finfo(logits.dtype).tiny)
            margin = (top.values[:, 0] - top.values[:, 1]) / spread
            probability = (top.values[:, 0] - logits.logsumexp(dim=1)).exp()
            parts.append((top.indices[:, :keep], probability, margin))
    tokens, probability, margin = (torch.cat(part) for part in zip(*parts, strict=True))
    return tokens, probability, margin
