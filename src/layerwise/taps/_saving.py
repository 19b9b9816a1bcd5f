"""What a cut saves: parameters, bytes and time, before and after."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import final

import torch
from torch import nn

from layerwise.models import Network
from layerwise.models._examples import Inputs, repeated
from layerwise.models._hooks import at_rest, run, usable


@final
@dataclass(frozen=True)
class Saving:
    """Costs of a network and of what is left of it; each pair is before and after.

    Args:
        parameters: numbers in the parameters, tied ones once.
        bytes: of parameters and buffers.
        milliseconds: of one forward of the batch, on the clock.
        batch: samples in it.
    """

    parameters: tuple[int, int]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]
    batch: int


def saving(
    network: Network, short: Network, *, inputs: Inputs | None = None, repeats: int = 5
) -> Saving:
    """Measure a network beside the one that was cut from it, in turn.

    Args:
        network: the whole.
        short: as `cut` made it.
        inputs: a batch of real samples; without it, the network's example.
        repeats: how often each runs; the median counts.

    Example:
        >>> import layerwise
        >>> from layerwise.taps import cut
        >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 800))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> saving(network, cut(network, "1")).parameters
        (7240, 40)
    """
    if inputs is not None:
        network.take_example(inputs)
    assert network.layers  # traced, so that there is an example
    assert network.example is not None
    batch = repeated(network.example, 1) if inputs is None else inputs
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + repeats):
        for times, module in zip(taken, (network.module, short.module), strict=True):
            times.append(milliseconds(module, batch))
    before, after = (median(times[1:]) for times in taken)  # the first run warms up
    return Saving(
        (_parameters(network.module), _parameters(short.module)),
        (_bytes(network.module), _bytes(short.module)),
        (before, after),
        len(batch) if isinstance(batch, torch.Tensor) else len(next(iter(batch.values()))),
    )


def milliseconds(module: nn.Module, batch: Inputs) -> float:
    """Time of one forward at rest, on the clock."""
    with at_rest(module):
        given = usable(batch)
        _wait(module)
        start = time.perf_counter()
        run(module, given)
        _wait(module)
        return 1000 * (time.perf_counter() - start)


def _wait(module: nn.Module) -> None:
    if any(p.is_cuda for p in module.parameters()):
        torch.cuda.synchronize()


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _bytes(module: nn.Module) -> int:
    kept = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _held(module)}
    return sum(kept.values())


def _held(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
