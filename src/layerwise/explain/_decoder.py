"""A decoder's blocks, as lenses and traces need them: the stream in and out, attention and MLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._address import module_of
from layerwise.models._hooks import named_modules


@final
@dataclass(frozen=True)
class Block:
    """One block and its parts.

    Args:
        entry: address of the stream that enters.
        attention: address of what attention gives.
        mlp: address of what the MLP gives.
        output: address of the stream that leaves.
        attention_module: the module that attends.
        heads: how many.
        projection: the linear module that joins the heads.
        joined: address of what flows into it, head after head.
        down: the linear module that joins the neurons.
        neurons: address of what flows into it.
    """

    entry: str
    attention: str
    mlp: str
    output: str
    attention_module: nn.Module
    heads: int
    projection: nn.Module
    joined: str
    down: nn.Module
    neurons: str

    @property
    def layers(self) -> tuple[str, str, str, str]:
        """The four addresses, in the order of flow."""
        return self.entry, self.attention, self.mlp, self.output


def blocks_of(network: Network) -> list[Block]:
    """The blocks of a decoder, in order.

    Raises:
        LayerwiseError: it has none, or one without attention and MLP.
    """
    modules = named_modules(network.module)
    blocks = [layer for layer in network.layers if layer.kind == "block"]
    if not blocks:
        raise LayerwiseError(f"{network.name} has no blocks; give a decoder language model")
    return [_block(network, layer, modules) for layer in blocks]


def _block(network: Network, block: Layer, modules: dict[str, nn.Module]) -> Block:
    inside = [
        layer
        for layer in network.layers
        if module_of(layer.name).startswith(f"{module_of(block.name)}.")
    ]
    attention, mlp = (_one(network, block, inside, kind) for kind in ("attention", "mlp"))
    joins, down = (_last_linear(network, inside, part) for part in (attention, mlp))
    return Block(
        entry=network.layers.entry(block).name,
        attention=attention.name,
        mlp=mlp.name,
        output=block.name,
        attention_module=modules[module_of(attention.name)],
        heads=_heads(network),
        projection=modules[joins],
        joined=network.layers.find(f"{joins}:in").name,
        down=modules[down],
        neurons=network.layers.find(f"{down}:in").name,
    )


def _heads(network: Network) -> int:
    """How many heads every attention has."""
    found = getattr(getattr(network.module, "config", None), "num_attention_heads", None)
    if not isinstance(found, int):
        raise LayerwiseError(
            f"{network.name} does not tell how many heads it has; give a decoder of transformers"
        )
    return found


def _one(network: Network, block: Layer, inside: Sequence[Layer], kind: str) -> Layer:
    """The outermost layer of a kind whose output is as wide as the block's."""
    found = [layer for layer in inside if layer.kind == kind and layer.shape == block.shape]
    if not found:
        raise LayerwiseError(
            f"block {block.name!r} of {network.name} has no {kind} that can be told apart; give a "
            "decoder whose blocks hold attention and MLP"
        )
    return min(found, key=lambda layer: (module_of(layer.name).count("."), layer.position))


def _last_linear(network: Network, inside: Sequence[Layer], part: Layer) -> str:
    """Name of the last linear module inside a part."""
    found = [
        layer
        for layer in inside
        if layer.kind == "linear" and module_of(layer.name).startswith(f"{module_of(part.name)}.")
    ]
    if not found:
        raise LayerwiseError(
            f"layer {part.name!r} of {network.name} ends in no linear map; give another network"
        )
    return module_of(max(found, key=lambda layer: layer.position).name)


def matrix_of(linear: nn.Module) -> tuple[Float[Tensor, "e d"], Tensor | None]:
    """A linear module as a matrix, rows by what flows in, and its bias."""
    weight, bias = linear.get_parameter("weight").detach(), getattr(linear, "bias", None)
    turned = weight.T if isinstance(linear, nn.Linear) else weight  # Conv1D of GPT-2 is not turned
    return turned, None if bias is None else torch.as_tensor(bias).detach()
