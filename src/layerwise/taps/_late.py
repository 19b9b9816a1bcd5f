"""What runs before a network's last wanted layer, and what only after it.

Two forwards give the evidence: one that stops when the wanted layers have flowed by, and a whole
one. A module that runs in the second and not in the first is late, with all that is inside it. What
ran in neither is not: other inputs may need it, as with experts or branches. Nor is a module whose
weights were used without a call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, final

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerwise.models import Layer
from layerwise.models._address import Address
from layerwise.models._examples import Inputs
from layerwise.models._hooks import at_rest, listening, named_modules, run, unique, usable
from layerwise.models._record import called_directly
from layerwise.taps._tap import up_to


@final
class Runs:
    """What ran in a forward that stopped after the wanted layers, and in a whole one."""

    def __init__(self) -> None:
        self.chosen: frozenset[str] = frozenset()
        self.names: dict[str, int] = {}
        self.began: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.ever: Counter[int] = Counter()
        self.borrowed: set[int] = set()

    @classmethod
    def of(cls, root: nn.Module, chosen: Sequence[Layer], batch: Inputs) -> Runs:
        """Run a batch both ways."""
        runs = cls()
        modules = named_modules(root)
        runs.chosen = frozenset(layer.name for layer in chosen)
        runs.names = {name: id(module) for name, module in modules.items()}
        direct = called_directly(root, batch)
        used = _Used()
        with _counting(root, direct, runs.began, runs.ended), used:
            up_to(root, chosen, lambda *_: None, usable(batch))
        with _counting(root, direct, runs.ever, Counter()):
            run(root, usable(batch))
        # Weights that were used without a call of the module that holds them, as attention does.
        ran = [module for module in modules.values() if id(module) in runs.began]
        held = {_place(value) for module in ran for value in tensors_of(module, inside=False)}
        runs.borrowed = used.places - held
        return runs

    def reached(self, layer: Layer) -> bool:
        """Whether a layer's values exist before the stop."""
        address = Address.parse(layer.name)
        assert address is not None
        if layer.name in self.chosen:
            return True
        counts = self.began if address.inward else self.ended
        return counts[self.names[address.module]] >= (address.call or 1)

    def late(self, module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
        """The outermost modules that run only after the stop, by address."""
        for name, child in module.named_children():
            here = f"{path}.{name}" if path else name
            if self._is_late(child):
                yield here, child
            else:
                yield from self.late(child, here)

    def _is_late(self, module: nn.Module) -> bool:
        return (
            id(module) in self.ever
            and not any(id(part) in self.began for part in module.modules())
            and not any(_place(value) in self.borrowed for value in tensors_of(module, inside=True))
        )


@contextmanager
def _counting(
    root: nn.Module, direct: set[str], began: Counter[int], ended: Counter[int]
) -> Iterator[None]:
    """Count by identity how often every module begins and ends."""

    def noting(counts: Counter[int], module: nn.Module) -> Callable[..., None]:
        return lambda *_: counts.update((id(module),))

    with ExitStack() as stack:
        stack.enter_context(at_rest(root))
        for name, module in unique(named_modules(root).items()).items():
            enter, leave = noting(began, module), noting(ended, module)
            stack.enter_context(listening(module, enter=enter, leave=leave, direct=name in direct))
        yield


@final
class _Used(TorchDispatchMode):
    """Notes where all tensors lie that operations are given."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = tree_leaves((args, kwargs))
        self.places.update(_place(value) for value in given if isinstance(value, Tensor))
        return func(*args, **(kwargs or {}))


def _place(value: Tensor) -> int:
    return value.untyped_storage().data_ptr() if value.numel() else 0


def tensors_of(module: nn.Module, *, inside: bool) -> list[Tensor]:
    found = [*module.parameters(recurse=inside), *module.buffers(recurse=inside)]
    return [value for value in found if value.numel()]
