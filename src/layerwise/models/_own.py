"""A module of the user's own, with a preparation of the user's own or with none."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, final

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models._feed import Feed, Modality
from layerwise.models._hooks import is_compiled_wrapper
from layerwise.models._preparation import ImagePreparation
from layerwise.models._text import TextCollate, TextPreparation


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside what `torch.compile` or a data-parallel wrapper made of it.

    Example:
        >>> inner = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(inner)) is inner
        True
    """
    while True:
        inner: Any = module
        if is_compiled_wrapper(module):
            module = inner._orig_mod
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = inner.module
        else:
            return module


def own_feed(prepare: Callable[[Any], Any] | None, modality: Modality | None) -> Feed:
    """The feed of a network that was given its preparation, or none at all.

    Args:
        prepare: the user's preparation; None takes tensors as they are.
        modality: what one sample is; a preparation of this library says it by itself.

    Raises:
        LayerwiseError: it cannot be told what a sample is, or which preparation this is.
    """
    if prepare is None:
        if modality not in (None, "tensor"):
            raise LayerwiseError(
                f"a network that takes samples of modality {modality!r} needs prepare=, which "
                "turns one of them into a tensor"
            )
        return Feed("tensor", AsIs(), stack)
    if isinstance(prepare, TextPreparation):
        return Feed("text", prepare, TextCollate(pad=prepare.pad))
    if isinstance(prepare, ImagePreparation):
        return Feed("image", prepare, stack)
    if modality is None:
        raise LayerwiseError(
            "prepare= does not say what a sample is; add modality='image', 'text' or 'tensor'"
        )
    return Feed(modality, _identified(prepare), stack)


@final
@dataclass(frozen=True)
class AsIs:
    """Takes a tensor as it is: the preparation of a network that was given none."""

    def __call__(self, sample: Tensor) -> Tensor:
        """Give the sample back."""
        return sample


@final
@dataclass(frozen=True)
class OwnFunction:
    """A function as preparation, told from others by its name and the hash of its source.

    Args:
        function: turns one sample into a tensor or a dict of tensors.
        identity: what says which function it is.
    """

    function: Callable[[Any], Any]
    identity: str

    def __call__(self, sample: Any) -> Any:
        """Call the function."""
        return self.function(sample)

    def __repr__(self) -> str:
        return self.identity


def stack(prepared: Sequence[Any]) -> Tensor | dict[str, Tensor]:
    """Join prepared samples of one shape into a batch.

    Raises:
        LayerwiseError: the samples have different shapes.

    Example:
        >>> stack([torch.zeros(3), torch.ones(3)]).shape
        torch.Size([2, 3])
    """
    if isinstance(prepared[0], Mapping):
        return {name: _stacked([p[name] for p in prepared], name) for name in prepared[0]}
    return _stacked(list(prepared), "the samples")


def _stacked(tensors: list[Tensor], what: str) -> Tensor:
    shapes = sorted({tuple(t.shape) for t in tensors})
    if len(shapes) > 1:
        raise LayerwiseError(
            f"{what} of one batch have different shapes, such as {list(shapes[0])} and "
            f"{list(shapes[-1])}; bring them to one shape in prepare=, or join them in collate="
        )
    return torch.stack(tensors)


def _identified(prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A preparation whose `repr` is the same in the next run, and another when it does other work.

    A store of features goes by it: a memory address would make every run a stranger.
    """
    if not re.search(r" at 0x[0-9a-fA-F]+", repr(prepare)):
        return prepare
    if isinstance(prepare, FunctionType) and prepare.__closure__ is None:
        try:
            source = inspect.getsource(prepare)
        except OSError:
            pass
        else:
            digest = hashlib.sha256(source.encode()).hexdigest()[:16]
            name = f"{prepare.__module__}.{prepare.__qualname__}"
            return OwnFunction(prepare, f"{name}(source {digest})")
    raise LayerwiseError(
        f"the repr of prepare= is {repr(prepare)[:80]!r}: a memory address does not say what it "
        "does; make it a function at the top of a module, or a frozen dataclass with __call__"
    )
