"""Who looks at whom and what is carried over: attention weights and values of every attention.

The decoders of `transformers` hand their queries, keys and values to a function that is looked up
by the name of the kernel they use. For the time of a `with` a function of ours stands under that
name, which computes the weights openly and keeps them with the values, whatever rotary embeddings,
grouped heads or windows the network has. That it still computes the same is for the caller to
check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps._attention import fused_weights


@final
@dataclass(frozen=True)
class Attended:
    """What one attention did.

    Args:
        weights: of each head, how much each place (second last axis) takes from each (last axis).
        values: what each head takes from each place.
    """

    weights: Float[Tensor, "n h t t"]
    values: Float[Tensor, "n h t e"]


@contextmanager
def attending(network: Network) -> Iterator[dict[nn.Module, Attended]]:
    """Keep weights and values of every attention in the last forward inside, by its module.

    Raises:
        LayerwiseError: the network is not one of `transformers` with attention to be looked into.
    """
    config: Any = getattr(network.module, "config", None)
    kernel = getattr(config, "_attn_implementation", None)
    if kernel is None:
        raise LayerwiseError(
            f"{network.name} is no decoder of transformers whose attention can be looked into; "
            "give one such as smollm2-135m or hf:NAME"
        )
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    found: dict[nn.Module, Attended] = {}

    def attend(  # noqa: PLR0917 - called by transformers so
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        weights = fused_weights(
            query, key, value, attention_mask, is_causal=attention_mask is None, scale=scaling
        )
        found[module] = Attended(weights, value)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    ALL_ATTENTION_FUNCTIONS[kernel] = attend
    try:
        yield found
    finally:
        del ALL_ATTENTION_FUNCTIONS[kernel]
