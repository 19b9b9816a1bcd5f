"""What it costs to get to a layer, measured on the user's own samples."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch

from layerwise.data import Samples
from layerwise.models import Network
from layerwise.taps import read

_BATCH = 16
_REPEATS = 3


def forward_milliseconds(network: Network, samples: Samples, rows: Sequence[int]) -> float:
    """Milliseconds a sample takes in the whole forward, as a median over a few batches of 16."""
    prepared = [network.prepare(samples.load(row)) for row in rows[:_BATCH]]
    inputs = network.batch(prepared)
    last = network.layers.select("blocks")[-1].name
    share = network.layers[last].share_before or 1.0
    taken = []
    for _ in range(_REPEATS):
        _wait(network)
        start = time.perf_counter()
        read(network, inputs, last)
        _wait(network)
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken) / share / len(prepared)


def _wait(network: Network) -> None:
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
