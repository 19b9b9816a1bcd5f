"""What asks and what is asked in an attention: queries and keys, as their products are taken.

They are taken where torch's fused attention is called, so rotary embeddings, normalised queries and
grouped heads are in them already. Their scaled products are the scores that the softmax gets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.models._address import module_of
from layerwise.models._hooks import at_rest, listening, named_modules, usable
from layerwise.taps._attention import attention_layers


@final
@dataclass(frozen=True)
class Asking:
    """Queries and keys of one attention layer; `queries @ keys.mT` are its scores before a mask.

    Args:
        layer: its address.
        queries: of each head and place, scaled.
        keys: of each head and place; grouped keys are repeated for the heads that share them.
    """

    layer: str
    queries: Float[Tensor, "n h q e"]
    keys: Float[Tensor, "n h k e"]


def asking(network: Network, inputs: Tensor | Mapping[str, Tensor], layer: str) -> Asking:
    """Run a batch and keep the queries and keys of one attention layer.

    Args:
        network: the network; it stays as it is.
        inputs: a batch.
        layer: address of an attention layer.

    Raises:
        LayerwiseError: no such layer, several, or one that does not call torch's fused attention.

    Example:
        >>> import torch
        >>> from layerwise.vocabulary import WORDS
        >>> word = next(word for word in WORDS if word.name == "language_model")
        >>> network = word.example(torch.Generator().manual_seed(0))
        >>> asking(network, network.example, "model.layers.1.self_attn").keys.shape
        torch.Size([1, 2, 5, 4])
    """
    network.take_example(inputs)
    chosen = attention_layers(network, layer)
    if len(chosen) != 1:
        names = ", ".join(repr(found.name) for found in chosen)
        raise LayerwiseError(f"{layer!r} stands for {len(chosen)} layers ({names}); give one")
    name = chosen[0].name
    watch = _Watch()
    module = named_modules(network.module)[module_of(name)]
    with (
        at_rest(network.module),
        listening(module, enter=watch.enter, leave=watch.leave, direct=chosen[0].direct),
        watch,
    ):
        network(usable(inputs))
    if watch.found is None:
        raise LayerwiseError(
            f"{name!r} does not call torch's fused attention, so its queries and keys cannot be "
            "seen; give an attention layer that does"
        )
    return Asking(name, *watch.found)


@final
class _Watch(TorchFunctionMode):
    """Sees the fused attention that is called while the layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.found: tuple[Tensor, Tensor] | None = None

    def enter(self, _: Any, __: Any) -> None:
        self.inside = True

    def leave(self, _: Any) -> None:
        self.inside = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.inside and func is functional.scaled_dot_product_attention:
            self.found = _scaled(*args, **kwargs)
        return func(*args, **kwargs)


def _scaled(
    query: Tensor, key: Tensor, *_: Any, scale: float | None = None, **__: Any
) -> tuple[Tensor, Tensor]:
    """In the order of torch's own arguments."""
    groups = query.shape[-3] // key.shape[-3]
    queries = query * (scale or 1 / math.sqrt(query.shape[-1]))
    return queries.detach(), key.repeat_interleave(groups, -3).detach()
