"""One pass over the data: planned batches in, pooled rows out, nothing else kept.

On a GPU the rows of a batch travel back while the next one is computed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, final

import torch
from torch import Tensor

from layerwise.data import Batch, Samples, batches
from layerwise.errors import LayerwiseError
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.taps._read import Inputs, pool


@final
class Clock:
    """Seconds spent waiting for samples, and in the network."""

    def __init__(self) -> None:
        self.waiting = 0.0
        self.forward = 0.0


@final
@dataclass(frozen=True)
class Rows:
    """What came out for one planned batch.

    Args:
        batch: the samples.
        values: `[n d]` float32 on the CPU: all layers and poolings side by side.
    """

    batch: Batch
    values: Tensor


def rows(
    network: Network,
    samples: Samples,
    plan: Sequence[Sequence[int]],
    poolings: Mapping[str, tuple[Pooling, ...]],
    *,
    workers: int | None,
    clock: Clock,
) -> Generator[Rows, None, None]:
    """Compute planned batches in order.

    Raises:
        LayerwiseError: the network cannot run a batch, or a worker process died.
    """
    found = batches(samples, network.prepare, plan, workers=workers)
    behind: _OnItsWay | None = None
    with closing(found):
        while True:
            start = perf_counter()
            batch = next(found, None)
            clock.waiting += perf_counter() - start
            start = perf_counter()
            ahead = None if batch is None else _start(network, samples, batch, poolings)
            arrived = None if behind is None else behind.arrive()
            clock.forward += perf_counter() - start
            if arrived is not None:
                yield arrived
            if ahead is None:
                return
            behind = ahead


@final
@dataclass(frozen=True)
class _OnItsWay:
    batch: Batch
    values: Tensor
    event: torch.cuda.Event | None

    def arrive(self) -> Rows:
        if self.event is not None:
            self.event.synchronize()
        return Rows(self.batch, self.values)


def _start(
    network: Network,
    samples: Samples,
    batch: Batch,
    poolings: Mapping[str, tuple[Pooling, ...]],
) -> _OnItsWay:
    if not batch.indices:
        return _OnItsWay(batch, torch.empty(0, 0), None)
    try:
        pooled = pool(network, _inputs(network, batch.prepared), poolings, poolings)
    except LayerwiseError:
        raise
    except Exception as error:
        raise _in_words(network, samples, batch, error) from error
    values = torch.cat(
        [pooled[layer, p.name].float() for layer, wanted in poolings.items() for p in wanted], 1
    )
    if values.device.type != "cuda":
        return _OnItsWay(batch, values.cpu(), None)
    host = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return _OnItsWay(batch, host, event)


def _inputs(network: Network, prepared: Sequence[Any]) -> Inputs:
    if network.device.type != "cuda":
        return network.batch(prepared)
    inputs = network.collate(prepared)

    def moved(value: Tensor) -> Tensor:
        return value.pin_memory().to(network.device, non_blocking=True)

    if isinstance(inputs, Mapping):
        return {name: moved(value) for name, value in inputs.items()}
    return moved(inputs)


def _in_words(network: Network, samples: Samples, batch: Batch, error: Exception) -> LayerwiseError:
    first, last = samples.names[batch.indices[0]], samples.names[batch.indices[-1]]
    where = f"the batch {first!r} to {last!r}"
    if isinstance(error, torch.OutOfMemoryError):
        return LayerwiseError(
            f"{where} does not fit into the memory of {network.device}; "
            f"give batch_size={max(1, len(batch.indices) // 2)}"
        )
    told = " ".join(str(error).split())
    return LayerwiseError(f"{network.name} fails on {where}: {type(error).__name__}: {told}")
