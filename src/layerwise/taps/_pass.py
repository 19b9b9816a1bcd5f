"""One pass over the data: planned batches in, pooled rows out, nothing else kept.

On a GPU the rows of a batch travel back while the next one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
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
from layerwise.taps._channels_last import channels_last, channels_last_helps
from layerwise.taps._folded import folded
from layerwise.taps._read import Inputs, pooling


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
    with closing(found), pooling(network, poolings, poolings) as pooled:
        run = folded(network, pooled, poolings)
        forward = _Forward(network, samples, poolings, run, channels_last_helps(network, run))
        while True:
            start = perf_counter()
            batch = next(found, None)
            clock.waiting += perf_counter() - start
            start = perf_counter()
            ahead = None if batch is None else forward.start(batch)
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


@final
@dataclass(frozen=True)
class _Forward:
    """Starts batches on their way; `run` holds the taps, `reorder` puts the channels last."""

    network: Network
    samples: Samples
    poolings: Mapping[str, tuple[Pooling, ...]]
    run: Callable[[Inputs], Mapping[tuple[str, str], Tensor]]
    reorder: bool

    def start(self, batch: Batch) -> _OnItsWay:
        if not batch.indices:
            return _OnItsWay(batch, torch.empty(0, 0), None)
        try:
            pooled = self.run(self._inputs(batch.prepared))
        except LayerwiseError:
            raise
        except Exception as error:
            raise _in_words(self.network, self.samples, batch, error) from error
        wanted = [(layer, way.name) for layer, ways in self.poolings.items() for way in ways]
        values = torch.cat([pooled[key].float() for key in wanted], 1)
        if values.device.type != "cuda":
            return _OnItsWay(batch, values.cpu(), None)
        host = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return _OnItsWay(batch, host, event)

    def _inputs(self, prepared: Sequence[Any]) -> Inputs:
        device = self.network.device
        if device.type != "cuda":
            inputs = self.network.batch(prepared)
            return channels_last(inputs) if self.reorder else inputs
        inputs = self.network.collate(prepared)

        def moved(value: Tensor) -> Tensor:
            return value.pin_memory().to(device, non_blocking=True)

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
