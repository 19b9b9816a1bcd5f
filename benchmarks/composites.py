"""Foreground search without composites (P186), against reading every composite.

    python benchmarks/composites.py [--gallery 64] [--queries 4]

A student scores candidates from features of background and foreground that were read apart: the
gallery is read once. Its teacher needs a forward for each pair. Both score the same pairs; the
training is short, because only the time counts here (tests measure what is found).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from _results import Row, keep, machine
from rich.console import Console
from torch import Tensor

import layerwise
from layerwise.search import CompositeDistiller

_SIDE = 96


def timed(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Train both, and time how they score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gallery", type=int, default=64)
    parser.add_argument("--queries", type=int, default=4)
    given = parser.parse_args()
    facts = machine()
    torch.set_num_threads(1)
    network = layerwise.open("efficientnet-lite0")
    generator = torch.Generator().manual_seed(0)

    def pictures(count: int) -> Tensor:
        return 2 * torch.rand(count, 3, _SIDE, _SIDE, generator=generator) - 1

    learned = pictures(8)
    distiller = CompositeDistiller.fit(
        network, learned, learned, torch.arange(8) % 2, layer="blocks.2.1", steps=2
    )
    queries, gallery = pictures(given.queries), pictures(given.gallery)
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    back, front = distiller._apart(network, queries, gallery, box.repeat(given.queries, 1))

    def apart() -> None:
        for one in back:
            distiller._mixed(one[None].expand_as(front), front, box.expand(len(front), -1))

    pairs = given.queries * given.gallery
    seconds = {
        "reading every composite": timed(
            lambda: distiller.by_composites(network, queries, gallery)
        ),
        "the student, everything read anew": timed(lambda: distiller(network, queries, gallery)),
        "the student, everything read before": timed(apart),
    }
    rows: list[Row] = [
        {
            "way": way,
            "pairs": str(pairs),
            "CPU s": took,
            "ms a pair": 1000 * took / pairs,
        }
        for way, took in seconds.items()
    ]
    Console(width=200).print(keep("composites", facts, rows, vars(given)))


if __name__ == "__main__":
    main()
