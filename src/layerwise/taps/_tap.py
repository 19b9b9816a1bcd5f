"""One tap under reading, pooling and editing: a function on what flows through chosen layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, final

from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._address import Address, pick, put
from layerwise.models._hooks import eager, listening, named_modules, run

Receive = Callable[[Layer, Tensor], Tensor | None]
"""Gets a layer and the tensor that flows there; what it returns, unless None, flows on instead."""


class Enough(BaseException):
    """All that was asked for has flowed by. No `except Exception` of a network may swallow it."""


@contextmanager
def tap(
    network: Network, layers: str | Iterable[str], receive: Receive, *, stop: bool = False
) -> Iterator[Seen]:
    """Let a function see, and if it likes replace, what flows through some layers.

    It acts on every forward inside the `with`, in whatever mode the network is, with gradients
    where there are any. The tensor is the one that flows, as the module gave it. Afterwards no
    hook is left, also after an error.

    Args:
        network: the network.
        layers: addresses or patterns.
        receive: called with the layer and its raw output.
        stop: end the forward, by raising `Enough`, when all layers were seen.

    Raises:
        LayerwiseError: no such layer.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()),
        ...                          example=torch.zeros(1, 4))
        >>> sizes = {}
        >>> with tap(network, "0", lambda layer, value: sizes.update({layer.name: value.norm()})):
        ...     _ = network(torch.zeros(2, 4))
        >>> list(sizes)
        ['0']
    """
    with listen(network.module, network.layers.select(layers), receive, stop=stop) as seen:
        yield seen


@contextmanager
def listen(
    root: nn.Module, layers: Iterable[Layer], receive: Receive, *, stop: bool = False
) -> Iterator[Seen]:
    """The same as `tap` for layers that are known already, without tracing the network.

    Args:
        root: the network itself.
        layers: as they were traced.
        receive: called with the layer and its raw output.
        stop: end the forward, by raising `Enough`, when all layers were seen.
    """
    seen = Seen(layers, stop)
    modules = named_modules(root)
    taps: dict[str, list[tuple[Address, Layer]]] = defaultdict(list)
    for layer in layers:
        address = Address.parse(layer.name)
        assert address is not None
        taps[address.module].append((address, layer))
    with ExitStack() as stack:
        stack.enter_context(eager(root))
        begin = root.register_forward_pre_hook(lambda *_: seen.begin())
        stack.callback(begin.remove)
        for name, wanted in taps.items():
            listener = _Listener(wanted, receive, seen)
            seen.listeners.append(listener)
            stack.enter_context(
                listening(
                    modules[name],
                    enter=listener.enter if listener.counts else None,
                    leave=listener.leave,
                    direct=wanted[0][1].direct,
                )
            )
        yield seen


def up_to(
    root: nn.Module,
    layers: Iterable[Layer],
    receive: Receive,
    inputs: Tensor | Mapping[str, Tensor],
) -> None:
    """Run a batch until all of some layers have flowed by, in whatever mode the network is.

    Raises:
        LayerwiseError: a layer did not run.
    """
    with listen(root, layers, receive, stop=True) as seen:
        try:
            run(root, inputs)
        except Enough:
            if seen.complete:
                return
            raise  # somebody around has seen enough, before this has
        seen.require_all()


@final
class Seen:
    """Which of the layers asked for have flowed by in the current forward."""

    def __init__(self, layers: Iterable[Layer], stop: bool) -> None:
        self._wanted = frozenset(layer.name for layer in layers)
        self._missing = set(self._wanted)
        self._stop = stop
        self.listeners: list[_Listener] = []

    def begin(self) -> None:
        """A new forward starts."""
        self._missing = set(self._wanted)
        for listener in self.listeners:
            listener.calls = 0

    def mark(self, layer: Layer) -> None:
        """A layer has flowed by."""
        self._missing.discard(layer.name)

    def end(self) -> None:
        """End the forward if there is nothing left to see and nobody wants its result."""
        if self._stop and not self._missing:
            raise Enough

    @property
    def complete(self) -> bool:
        """Whether all of them have."""
        return not self._missing

    def require_all(self) -> None:
        """Make sure that nothing was missed.

        Raises:
            LayerwiseError: a layer did not run in this forward.
        """
        if self._missing:
            raise LayerwiseError(
                f"layer {min(self._missing)!r} did not run for these inputs, although it did in "
                f"the traced forward; read it with inputs that need it"
            )


@final
class _Listener:
    """Counts the calls of one module and hands on the tensors that were asked for."""

    def __init__(self, wanted: list[tuple[Address, Layer]], receive: Receive, seen: Seen) -> None:
        self.inward = [(a, layer) for a, layer in wanted if a.inward]
        self.outward = [(a, layer) for a, layer in wanted if not a.inward]
        self.counts = bool(self.inward) or any(a.call for a, _ in wanted)
        self.receive, self.seen = receive, seen
        self.calls = 0

    def enter(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self.calls += 1
        for address, layer in self._now(self.inward):
            step, rest = address.path[0], address.path[1:]
            if isinstance(step, int):
                args = put(args, address.path, self._hand(layer, pick(args[step], rest)))
            else:
                kwargs = put(kwargs, address.path, self._hand(layer, pick(kwargs[step], rest)))
        if self.inward:
            self.seen.end()
        return args, kwargs

    def leave(self, output: Any) -> Any:
        changed = False
        for address, layer in self._now(self.outward):
            value = pick(output, address.path)
            other = self._hand(layer, value)
            if other is not value:
                output, changed = put(output, address.path, other), True
        if self.outward:
            self.seen.end()
        return output if changed else None

    def _now(self, wanted: list[tuple[Address, Layer]]) -> list[tuple[Address, Layer]]:
        return [(a, layer) for a, layer in wanted if a.call in (None, self.calls)]

    def _hand(self, layer: Layer, value: Tensor) -> Tensor:
        other = self.receive(layer, value)
        self.seen.mark(layer)
        return value if other is None else other
