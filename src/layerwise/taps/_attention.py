"""Who looks where: the attention of every head, whatever the network computes it with.

Fused attention never makes the matrix of weights, and the ways to switch it off differ between
libraries and change the network. Here nothing is switched: operations are watched while the network
runs, and where a fused attention is called its weights are computed once more from the same queries
and keys, beside it. Attention that is written out shows its own softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._address import module_of
from layerwise.models._hooks import at_rest, eager, listening, named_modules, usable

Receive = Callable[[Layer, Float[Tensor, "n h q k"]], None]
"""Gets an attention layer and the weights of its heads; each query's sum to 1."""

_SOFTMAX = frozenset({"softmax", "_softmax"})


def attention(
    network: Network,
    inputs: Tensor | Mapping[str, Tensor],
    receive: Receive,
    *,
    layers: str | None = None,
) -> None:
    """Run a batch and hand out every attention layer's weights, one layer after the other.

    Args:
        network: the network; it stays as it is, and computes what it always does.
        inputs: a batch.
        receive: called with each layer and its weights, which are gone afterwards unless kept.
        layers: addresses or patterns; without it all attention layers, of which there may be none.

    Raises:
        LayerwiseError: no such layer, or one that computes its attention in a way nobody can see.

    Example:
        >>> import layerwise
        >>> from layerwise.vocabulary import WORDS
        >>> word = next(word for word in WORDS if word.name == "language_model")
        >>> network, shapes = word.example(torch.Generator().manual_seed(0)), []
        >>> attention(network, network.example, lambda _, weights: shapes.append(weights.shape))
        >>> shapes[0]
        torch.Size([1, 2, 5, 5])
    """
    network.take_example(inputs)
    chosen = attention_layers(network, layers)
    if not chosen:
        return
    with at_rest(network.module), watching(network, chosen, receive) as watch:
        network(usable(inputs))
    blind = [layer.name for layer in chosen if layer.name not in watch.seen]
    if blind:
        raise LayerwiseError(
            f"the attention of {blind[0]!r} cannot be seen: it neither calls torch's fused "
            "attention nor a softmax over keys; leave the layer out with layers="
        )


def attention_layers(network: Network, layers: str | None = None) -> tuple[Layer, ...]:
    """The outermost layers that attend, one for each module; none where nothing attends."""
    if layers is not None:
        found = network.layers.select(layers)
    else:
        found = tuple(layer for layer in network.layers if layer.kind == "attention")
    modules = {module_of(layer.name): layer for layer in reversed(found)}
    outer = {
        name: layer
        for name, layer in modules.items()
        if not any(name.startswith(f"{other}.") for other in modules)
    }
    return tuple(sorted(outer.values(), key=lambda layer: layer.position))


@contextmanager
def watching(network: Network, layers: tuple[Layer, ...], receive: Receive) -> Iterator[_Watch]:
    """Hand out the weights of attention layers in every forward inside the `with`."""
    modules = named_modules(network.module)
    watch = _Watch(receive)
    with ExitStack() as stack:
        stack.enter_context(eager(network.module))
        for layer in layers:
            stack.enter_context(
                listening(
                    modules[module_of(layer.name)],
                    enter=watch.entering(layer),
                    leave=watch.leave,
                    direct=layer.direct,
                )
            )
        stack.enter_context(watch)
        yield watch


@final
class _Watch(TorchFunctionMode):
    """Sees every operation, and knows which attention layer runs."""

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self.receive = receive
        self.layer: Layer | None = None
        self.weights: Tensor | None = None
        self.seen: set[str] = set()

    def entering(self, layer: Layer) -> Callable[[Any, Any], None]:
        def enter(_: Any, __: Any) -> None:
            self.layer, self.weights = layer, None

        return enter

    def leave(self, _: Any) -> None:
        layer, weights = self.layer, self.weights
        self.layer = self.weights = None
        if layer is not None and weights is not None:
            self.seen.add(layer.name)
            self.receive(layer, weights)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self.layer is None:
            return output
        if func is functional.scaled_dot_product_attention:
            self.weights = fused_weights(*args, **kwargs)
        elif func is functional.multi_head_attention_forward:
            told = kwargs | {"need_weights": True, "average_attn_weights": False}
            self.weights = func(*args, **told)[1]
        elif getattr(func, "__name__", "") in _SOFTMAX and output.ndim >= 3:
            self.weights = output if output.ndim == 4 else output.unsqueeze(1)
        return output


def fused_weights(  # noqa: PLR0917 - torch's own order
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "n h q k"]:
    """The weights inside `scaled_dot_product_attention`, with its own arguments."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        allowed = torch.ones_like(scores[..., :, :], dtype=torch.bool).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).nan_to_num()  # a query that may see nothing
