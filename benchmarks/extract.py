"""Time of `extract` from a folder of JPEG files, beside its parts measured on their own.

    python benchmarks/extract.py [--network efficientnet-lite0] [--pictures 256] [--rounds 3]

The parts are decoding with preparation, and the bare forward in batches of the same size; in turn
with the whole, several times, in one process without workers. The target is at most 1.05 times
their sum. `--allocator` lets glibc keep freed memory, as the command line does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


def pictures(folder: Path, count: int) -> None:
    """Write crops of photographs as JPEG files of 500 x 375 pixels."""
    import numpy as np
    import skimage.data
    from PIL import Image

    folder.mkdir()
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    draw = np.random.default_rng(0)
    for number in range(count):
        image = Image.fromarray(photographs[number % len(photographs)])
        left, top = draw.integers(0, image.width // 4), draw.integers(0, image.height // 4)
        crop = image.crop((left, top, left + image.width * 3 // 4, top + image.height * 3 // 4))
        crop.resize((500, 375)).save(folder / f"{number:05d}.jpg", quality=90)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--allocator", action="store_true")
    options = parser.parse_args()
    if options.allocator:
        from layerwise.cli._allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    import layerwise

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    network = layerwise.open(options.network)
    size = options.batch_size
    seconds: dict[str, list[float]] = {"decode": [], "forward": [], "extract": []}
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder) / "pictures", options.pictures)
        samples = layerwise.data.open(f"{folder}/pictures")
        first = [network.prepare(samples.load(index)) for index in range(size)]
        batch = network.batch(first)
        layerwise.extract(network, samples, f"{folder}/warm.lance", limit=size, workers=0)
        for turn in range(options.rounds):
            start = time.perf_counter()
            for index in range(len(samples)):
                network.prepare(samples.load(index))
            seconds["decode"].append(time.perf_counter() - start)
            start = time.perf_counter()
            with torch.no_grad():
                for _ in range(len(samples) // size):
                    network(batch)
            seconds["forward"].append(time.perf_counter() - start)
            start = time.perf_counter()
            out = f"{folder}/{turn}.lance"
            layerwise.extract(network, samples, out, batch_size=size, workers=0)
            seconds["extract"].append(time.perf_counter() - start)
    parts = zip(seconds["decode"], seconds["forward"], strict=True)
    ratios = [whole / sum(part) for whole, part in zip(seconds["extract"], parts, strict=True)]
    table = Table(title=f"{options.pictures} JPEG files, {options.network}, batches of {size}")
    for title in (*seconds, "extract / (decode + forward)"):
        table.add_column(f"{title} s" if title in seconds else title, justify="right")
    cells = [f"{statistics.median(found):.2f}" for found in seconds.values()]
    table.add_row(*cells, f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")
    Console().print(table)


if __name__ == "__main__":
    main()
