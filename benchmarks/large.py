"""A readout of very many stored rows: peak memory and time of `fit_reader` over a store.

    python benchmarks/large.py [--rows 100000] [--readouts ridge nearest-mean knn linear]

Rows are 384 wide and lie in 20 clouds. Each readout is fitted in a process of its own; its peak is
what it needs beyond the loaded libraries, samples and network. `ridge` and `nearest-mean` add up
rows as they flow by. `knn` keeps the training rows, which are the reader. `linear` holds few rows
in memory, several times over; over many it passes dozens of times and holds none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _results import Row, keep, machine, resident
from rich.console import Console
from torch import nn

import layerwise
from layerwise import atlas
from layerwise.taps import Extraction

INPUTS, WIDTH, CLOUDS = 16, 384, 20


def stored(rows: int, store: Path) -> tuple[layerwise.Network, Any, Extraction]:
    """Samples in clouds, a network of one layer, and its features; read where they are there."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % CLOUDS
    centres = torch.randn(CLOUDS, INPUTS, generator=generator)
    inputs = centres[labels] + 1.5 * torch.randn(rows, INPUTS, generator=generator)
    module = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh()).requires_grad_(False)
    module[0].weight.copy_(torch.randn(WIDTH, INPUTS, generator=generator) / INPUTS**0.5)
    module[0].bias.zero_()
    network = layerwise.open(module.eval(), example=inputs[:1], name="one layer")
    named = [{"cloud": f"cloud {label}"} for label in labels.tolist()]
    samples = layerwise.data.open(list(zip(inputs, named, strict=True)))
    done = layerwise.extract(network, samples, store, layers="1", batch_size=1000, workers=0)
    return network, samples, done


def fitted(rows: int, store: Path, readout: str) -> Row:
    """Fit one readout; runs in a process of its own."""
    network, samples, done = stored(rows, store)
    atlas.fit_reader(network, samples.take(range(500)), "cloud", layers="1", readout=readout)
    before = resident("VmRSS", afresh=True)
    start = time.process_time()
    reader = atlas.fit_reader(
        network, samples, "cloud", layers="1", readout=readout, extraction=done
    )
    return {
        "readout": f"{readout}, {rows} rows",
        "MB of stored rows": rows * WIDTH * 4 / 1e6,
        "peak MB": resident("VmHWM") - before,
        "CPU s": time.process_time() - start,
        "accuracy": reader.facts.quality.score,
    }


def main() -> None:
    """Measure every readout, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--readouts", nargs="+", default=["ridge", "nearest-mean", "knn", "linear"])
    parser.add_argument("--one", nargs=3, help="for the child process: rows, store, readout")
    given = parser.parse_args()
    if given.one:
        rows, store, readout = given.one
        sys.stdout.write(json.dumps(fitted(int(rows), Path(store), readout)))
        return
    facts, found, table = machine("pylance"), [], ""
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            store = str(Path(folder) / "rows.lance")
            stored(rows, Path(store))
            for readout in given.readouts:
                words = [sys.executable, __file__, "--one", str(rows), store, readout]
                told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                found.append(json.loads(told))
                table = keep("large", facts, found, {})  # now, for a run that is stopped
    Console().print(table, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
