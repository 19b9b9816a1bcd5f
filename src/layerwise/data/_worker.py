"""What runs in a worker process: load, prepare, and pack a batch for the way back.

All tensors of a batch travel in one buffer per type, through shared memory, because each tensor on
its own would cost a file descriptor and a third of a millisecond.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from layerwise.data._samples import Unreadable

Outcome = tuple[Any, str]
"""A prepared sample and an empty reason, or None and the reason why there is none."""


def load(loader: Callable[[Any], Any], prepare: Callable[[Any], Any], item: Any) -> Outcome:
    """Load and prepare one sample; whatever is wrong with it becomes a reason."""
    try:
        sample = loader(item)
    except Unreadable as error:
        return None, str(error)
    except Exception as error:
        return None, f"cannot be read: {_told(error)}"
    try:
        return prepare(sample), ""
    except Unreadable as error:
        return None, str(error)
    except Exception as error:
        return None, f"cannot be prepared: {_told(error)}"


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@final
@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the buffer of its type."""

    dtype: torch.dtype
    start: int
    shape: tuple[int, ...]


@final
@dataclass(frozen=True)
class Packed:
    """Outcomes whose tensors have moved into one buffer per type.

    Args:
        outcomes: prepared samples with slots in place of tensors, and reasons.
        buffers: flat tensors by type, or flat arrays where shared memory is short.
    """

    outcomes: list[Outcome]
    buffers: dict[torch.dtype, Any]


def pack(outcomes: Sequence[Outcome]) -> Packed:
    """Move all tensors into one buffer per type; the opposite of `unpack`.

    Example:
        >>> packed = pack([({"x": torch.ones(2)}, ""), (None, "too dark")])
        >>> unpack(packed)
        [({'x': tensor([1., 1.])}, ''), (None, 'too dark')]
    """
    pieces: dict[torch.dtype, list[Tensor]] = {}
    filled: dict[torch.dtype, int] = {}

    def place(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: place(each) for name, each in value.items()}
        if not isinstance(value, Tensor) or value.numel() == 0:
            return value
        slot = Slot(value.dtype, filled.get(value.dtype, 0), tuple(value.shape))
        filled[value.dtype] = slot.start + value.numel()
        pieces.setdefault(value.dtype, []).append(value.detach().reshape(-1))
        return slot

    placed = [(place(value), reason) for value, reason in outcomes]
    return Packed(placed, {dtype: torch.cat(tensors) for dtype, tensors in pieces.items()})


def unpack(packed: Packed) -> list[Outcome]:
    """Bring the tensors back, as views of the buffers."""
    buffers = {dtype: torch.as_tensor(buffer) for dtype, buffer in packed.buffers.items()}

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(each) for name, each in value.items()}
        if not isinstance(value, Slot):
            return value
        flat = buffers[value.dtype].view(value.dtype)
        return flat[value.start : value.start + math.prod(value.shape)].view(value.shape)

    return [(fill(value), reason) for value, reason in packed.outcomes]


_tools = b""


def start(tools: bytes) -> None:
    """Set a worker process up: one thread, and the pickled loader and preparation."""
    global _tools  # noqa: PLW0603 - a worker process has no other place to keep its state
    torch.set_num_threads(1)  # the other cores belong to the other workers and to the network
    _tools = tools
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed process would wait for its next batch for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@functools.cache
def _unpickled() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The tools, not before they are used: a failed import then comes back as an exception."""
    loader, prepare = pickle.loads(_tools)
    return loader, prepare


def work(items: Sequence[Any]) -> Packed:
    """Load and prepare the samples of a batch in a worker process."""
    loader, prepare = _unpickled()
    packed = pack([load(loader, prepare, item) for item in items])
    if _shared_memory_left() > 4 * sum(buffer.nbytes for buffer in packed.buffers.values()):
        return packed
    plain = {t: buffer.view(torch.uint8).numpy() for t, buffer in packed.buffers.items()}
    return Packed(packed.outcomes, plain)


def _shared_memory_left() -> float:
    """Bytes free where shared tensors live: containers often have only 64 MB of it."""
    try:
        return float(shutil.disk_usage("/dev/shm").free)
    except OSError:
        return math.inf
