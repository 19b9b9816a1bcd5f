"""One forward, written down: which module ran when, on which tensors, giving which."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from layerwise.models._address import Path, tensors
from layerwise.models._hooks import at_rest, listening, named_modules, run, unique, usable

Place = tuple[int, int, tuple[int, ...]]
"""Where a tensor's values lie: two tensors of one place are the same values."""


@final
@dataclass
class Flow:
    """One tensor that was seen flowing into or out of a module."""

    path: Path
    shape: tuple[int, ...]
    place: Place
    tensor: Tensor | None
    version: int | None

    @classmethod
    def of(cls, path: Path, tensor: Tensor, *, keep: bool) -> Flow:
        """Note a tensor; `keep` holds on to it, so that its place is not given away."""
        version = None if tensor.is_inference() else tensor._version
        memory, offset = tensor.untyped_storage().data_ptr(), int(tensor.storage_offset())
        shape = tuple(tensor.shape)
        return cls(path, shape, (memory, offset, shape), tensor if keep else None, version)

    @property
    def overwritten(self) -> bool:
        """Whether the tensor was changed in place since; assumed where nobody can know."""
        return self.tensor is not None and (
            self.version is None or self.tensor._version != self.version
        )


@final
@dataclass
class Call:
    """One run of one module. Orders count all entries and exits of the forward."""

    module: str
    index: int
    began: int
    ended: int = -1
    inputs: list[Flow] = field(default_factory=list)
    outputs: list[Flow] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    flops: tuple[int, int] = (0, 0)


@final
@dataclass
class Recording:
    """All calls of one forward in the order in which they ended, and what the forward took."""

    calls: list[Call]
    seconds: float
    flops: int


def record(
    root: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    direct: Collection[str] = (),
    keep: bool = False,
    flops: bool = False,
) -> Recording:
    """Run a batch and write down every call.

    Args:
        root: the network.
        inputs: a batch.
        direct: modules whose `forward` is called directly.
        keep: hold on to all tensors, so that identity and later changes can be told.
        flops: count floating-point operations, which takes longer.
    """
    counter = _Operations()
    clock = _clock(root)
    ledger = _Ledger(keep, clock, counter.count if flops else _zero)
    with ExitStack() as stack:
        stack.enter_context(at_rest(root))
        for name, module in unique(named_modules(root).items()).items():
            enter = partial(ledger.enter, name)
            stack.enter_context(
                listening(module, enter=enter, leave=ledger.leave, direct=name in direct)
            )
        if flops:
            stack.enter_context(counter)
        batch = usable(inputs)
        start = clock()
        run(root, batch)
        seconds = clock() - start
    return Recording(ledger.calls, seconds, counter.total)


def called_directly(root: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> set[str]:
    """Modules that ran in a forward although nobody called them: their `forward` was."""
    called: Counter[str] = Counter()
    ran: Counter[str] = Counter()

    def count(counts: Counter[str], name: str) -> Callable[[Any], None]:
        return lambda _: counts.update((name,))

    with ExitStack() as stack:
        stack.enter_context(at_rest(root))
        for name, module in unique(named_modules(root).items()).items():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            for counts, direct in ((called, False), (ran, True)):
                stack.enter_context(
                    listening(module, enter=None, leave=count(counts, name), direct=direct)
                )
        run(root, usable(inputs))
    return {name for name in ran if not called[name]}


class _Ledger:
    """What the listeners write into."""

    def __init__(self, keep: bool, clock: Callable[[], float], flops: Callable[[], int]) -> None:
        self.keep, self.clock, self.flops = keep, clock, flops
        self.calls: list[Call] = []
        self.open: list[Call] = []
        self.times: Counter[str] = Counter()
        self.order = 0

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.times[name] += 1
        call = Call(name, self.times[name], self._next())
        steps: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        call.inputs = [flow for step, part in steps for flow in self._flows(part, (step,))]
        call.flops = (self.flops(), 0)
        call.seconds = (self.clock(), 0.0)
        self.open.append(call)

    def leave(self, output: Any) -> None:
        call = self.open.pop()
        call.seconds = (call.seconds[0], self.clock())
        call.flops = (call.flops[0], self.flops())
        call.outputs = self._flows(output)
        call.ended = self._next()
        self.calls.append(call)

    def _flows(self, value: Any, path: Path = ()) -> list[Flow]:
        return [Flow.of(way, tensor, keep=self.keep) for way, tensor in tensors(value, path)]

    def _next(self) -> int:
        self.order += 1
        return self.order


@final
class _Operations(TorchDispatchMode):
    """Adds up operations by torch's own formulas; unlike its counter, it needs no global hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def count(self) -> int:
        return self.total

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def _clock(root: nn.Module) -> Callable[[], float]:
    if not any(p.is_cuda for p in root.parameters()):
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def _zero() -> int:
    return 0
