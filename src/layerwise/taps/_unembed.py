"""What is left of a language model after its last block: hidden states to logits.

The final norm and the head are found in the traced network and run on any states, so that a layer
can be asked what it would say if it were the last one. Where the final norm belongs differs between
networks (`hidden_states[-1]` of `transformers` has passed it in one and not in another), and some
scale or cap their logits outside of any module. So nothing is taken on trust: on the network's
example the logits made here must be those of the network itself, or it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.models._address import module_of
from layerwise.models._hooks import at_rest, named_modules, usable
from layerwise.taps._tap import tap

_NUMBERS = 2**24  # logits that are held at a time
_CLOSE = 1e-4


@final
class Unembed:
    """Makes logits of hidden states, as the network does after its last block.

    Args:
        network: a language model with its example.

    Attributes:
        block: address of the last block, whose output is unembedded as it is.

    Raises:
        LayerwiseError: the network gives no logits, or makes them in another way than by the
            modules that run after its last block.

    Example:
        >>> import layerwise
        >>> from layerwise.vocabulary import WORDS
        >>> word = next(word for word in WORDS if word.name == "language_model")
        >>> network = word.example(torch.Generator().manual_seed(0))
        >>> unembed = Unembed(network)
        >>> states = layerwise.read(network, network.example, unembed.block)[unembed.block]
        >>> bool(torch.allclose(unembed(states), network(network.example).logits, atol=1e-5))
        True
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.block = _last_block(network)
        self._tail = _tail(network, self.block)
        states, logits = _both(network, self.block)
        made = self._checked(states)
        if made is None or made.shape != logits.shape:
            raise _refused(network, "gives no logits after its last block")
        error = float((made - logits).abs().max() / logits.abs().max().clamp(min=1e-30))
        if not error < _CLOSE:
            raise _refused(
                network, f"does more to its logits than that (they differ by {error:.1e})"
            )
        self.vocabulary = logits.shape[-1]

    def __call__(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n v"]:
        """Logits of some states; `blocks` is for many."""
        with at_rest(self.network.module):
            for module in self._tail:
                states = module(states)
        return states

    def graded(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n v"]:
        """The same with gradients, where the states ask for them."""
        with at_rest(self.network.module), torch.enable_grad():
            for module in self._tail:
                states = module(states)
        return states

    def norm(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The states after the final norm, before the head."""
        with at_rest(self.network.module):
            for module in self._tail[:-1]:
                states = module(states)
        return states

    def blocks(self, states: Float[Tensor, "n d"]) -> Iterator[tuple[slice, Float[Tensor, "m v"]]]:
        """Log-probabilities of many states, a few rows at a time, however large the vocabulary."""
        rows = max(1, _NUMBERS // self.vocabulary)
        for start in range(0, len(states), rows):
            part = slice(start, min(start + rows, len(states)))
            yield part, self(states[part]).log_softmax(-1)

    def _checked(self, states: Tensor) -> Tensor | None:
        try:
            return self(states)
        except (RuntimeError, TypeError):  # the tail is not a chain of modules on one tensor
            return None


def _last_block(network: Network) -> str:
    blocks = [layer.name for layer in network.layers if layer.kind == "block"]
    if not blocks:
        raise _refused(network, "has no blocks")
    return blocks[-1]


def _tail(network: Network, block: str) -> list[nn.Module]:
    """The outermost modules that run after the last block, in order."""
    modules = named_modules(network.module)
    last = network.layers[block]
    names: list[str] = []
    for layer in network.layers:
        name = module_of(layer.name)
        holds = name == "." or module_of(block).startswith(f"{name}.")
        if layer.position > last.position and not holds and name not in names:
            names.append(name)
    outer = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
    return [modules[name] for name in outer if next(modules[name].parameters(), None) is not None]


def _both(network: Network, block: str) -> tuple[Tensor, Tensor]:
    """What the last block gives for the example, and the network's logits."""
    found: dict[str, Tensor] = {}
    assert network.example is not None
    with (
        at_rest(network.module),
        tap(network, block, lambda layer, value: found.update({layer.name: value})),
    ):
        logits = logits_of(network(usable(network.example)))
    if logits is None:
        raise _refused(network, "gives no logits")
    layout = network.layers[block].sure
    return layout.standard(found[block]), logits


def logits_of(output: Any) -> Tensor | None:
    """The logits in what a network gives: the tensor itself, or what is called so."""
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else None
    return found if isinstance(found, Tensor) else None


def _refused(network: Network, why: str) -> LayerwiseError:
    return LayerwiseError(
        f"{network.name} cannot be read as a language model: it {why}; give a network whose last "
        "block is followed by a norm and a head alone"
    )
