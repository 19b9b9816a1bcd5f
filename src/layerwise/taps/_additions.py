"""The residual stream at work: every addition of a branch to what a block hands on.

A block with skips adds what its branches give to the stream that flows in: `x + f(x)`. Which tensor
is the stream is not guessed from names: it is the very tensor that enters the block, and after each
addition the sum. So one brick measures skips of transformers, pre-norm, parallel or with layer
scales, and of convolutional blocks. The stream ends where something else is done to it: after the
first sum of a post-norm block such as BERT's, and at a skip that runs through a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from torch.overrides import TorchFunctionMode

from layerwise.models import Layer, Network
from layerwise.models._address import module_of, tensors
from layerwise.models._hooks import eager, listening, named_modules

_ADD = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})


@final
@dataclass(frozen=True)
class Addition:
    """One branch that comes onto the stream of a block.

    Args:
        block: the layer whose stream it is.
        place: number of the addition within the block, from 0.
        kinds: kinds of the layers inside the block that ran since the addition before.
        stream: what the branch is added to, in standard form.
        branch: what is added.
    """

    block: Layer
    place: int
    kinds: frozenset[str]
    stream: Tensor
    branch: Tensor


@contextmanager
def additions(
    network: Network, receive: Callable[[Addition], None], *, blocks: str = "kind:block"
) -> Iterator[set[str]]:
    """Let a function see every addition to the stream of some blocks, in every forward inside.

    Args:
        network: the network; what it computes stays as it is.
        receive: called with each addition.
        blocks: addresses or patterns.

    Yields:
        Addresses of the blocks that have run and gave their last sum as it was: all that they do is
        to add to the stream.

    Raises:
        LayerwiseError: no such layer.

    Example:
        >>> import layerwise, torch
        >>> from layerwise.vocabulary import WORDS
        >>> word = next(word for word in WORDS if word.name == "language_model")
        >>> network = word.example(torch.Generator().manual_seed(0))
        >>> seen = []
        >>> with additions(network, lambda added: seen.append(added.place)):
        ...     _ = network(network.example)
        >>> seen  # attention and MLP of three blocks
        [0, 1, 0, 1, 0, 1]
    """
    chosen = network.layers.select(blocks)
    modules = named_modules(network.module)
    watch = _Watch(receive)
    with ExitStack() as stack:
        stack.enter_context(eager(network.module))
        for layer in chosen:
            name = module_of(layer.name)
            stack.enter_context(_around(modules[name], layer, watch))
            stack.enter_context(_inside(network, name, modules, watch))
        stack.enter_context(watch)
        yield watch.purely


@contextmanager
def _around(module: Any, layer: Layer, watch: _Watch) -> Iterator[None]:
    """Tell the watch when a block begins and ends."""

    def enter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        flows = tensors(args) or tensors(kwargs)
        watch.begin(layer, flows[0][1] if flows else None)

    def leave(output: Any) -> None:
        watch.end([value for _, value in tensors(output)])

    with listening(module, enter=enter, leave=leave, direct=layer.direct):
        yield


@contextmanager
def _inside(network: Network, block: str, modules: Any, watch: _Watch) -> Iterator[None]:
    """Tell the watch which layers of a block have run."""
    inner = {
        module_of(layer.name): layer
        for layer in network.layers
        if module_of(layer.name).startswith(f"{block}.")
    }
    with ExitStack() as stack:
        for name, layer in inner.items():
            note = watch.noting(layer.kind)
            stack.enter_context(
                listening(modules[name], enter=None, leave=note, direct=layer.direct)
            )
        yield


@final
class _Watch(TorchFunctionMode):
    """Sees every operation, and knows the stream of the block that runs."""

    def __init__(self, receive: Callable[[Addition], None]) -> None:
        super().__init__()
        self.receive = receive
        self.purely: set[str] = set()
        self._rest()

    def begin(self, layer: Layer, stream: Tensor | None) -> None:
        self.layer: Layer | None = layer
        self.stream, self.place, self.kinds = stream, 0, set[str]()

    def end(self, given: list[Tensor]) -> None:
        if self.layer is not None and self.place and any(t is self.stream for t in given):
            self.purely.add(self.layer.name)
        self._rest()

    def _rest(self) -> None:
        self.layer, self.stream, self.place, self.kinds = None, None, 0, set[str]()

    def noting(self, kind: str) -> Callable[[Any], None]:
        return lambda _: self.kinds.add(kind)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        branch = self._branch(func, args, kwargs)
        if branch is None:
            return func(*args, **kwargs)
        stream, layer = self.stream, self.layer
        assert stream is not None
        assert layer is not None
        if getattr(func, "__name__", "") in ("add_", "__iadd__"):
            stream, branch = stream.clone(), branch.clone()  # one of them is about to change
        output = func(*args, **kwargs)
        standard = layer.sure.standard
        self.receive(
            Addition(layer, self.place, frozenset(self.kinds), standard(stream), standard(branch))
        )
        self.stream, self.place, self.kinds = output, self.place + 1, set()
        return output

    def _branch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What is added to the stream, if that is what happens."""
        if self.stream is None or getattr(func, "__name__", "") not in _ADD or kwargs:
            return None
        one, other = (*args, None, None)[:2]
        branch = other if one is self.stream else one if other is self.stream else None
        same = isinstance(branch, Tensor) and branch.shape == self.stream.shape
        return branch if same and branch is not self.stream else None
