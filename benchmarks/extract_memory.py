"""Peak memory of `extract` by the number of samples: it should not grow with the data.

    python benchmarks/extract_memory.py [--network efficientnet-lite0] [--samples 500 5000]

Every count runs in a process of its own, over small pictures of noise, and tells the largest memory
the process ever had. The same process is measured just before the pass over the data begins, with
everything imported and the network traced: what it needs beyond that is the pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.table import Table


def measure(network: str, count: int, side: int) -> dict[str, float]:
    """Extract once, in this process; memory in MB."""
    import numpy as np
    import torch
    from PIL import Image

    import layerwise
    from layerwise.data import Samples

    torch.set_num_threads(2)

    def picture(number: int) -> Image.Image:
        values = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        return Image.fromarray(values)

    numbers = tuple(str(number) for number in range(count))
    samples = Samples("image", "noise", numbers, numbers, tuple(range(count)), picture)
    opened = layerwise.open(network)
    with tempfile.TemporaryDirectory() as folder:
        layerwise.extract(opened, samples, f"{folder}/warm.lance", limit=32, workers=0)
        before = peak()
        done = layerwise.extract(opened, samples, f"{folder}/all.lance", workers=0)
        width = sum(column.width for column in done.store.columns)
    return {
        "before": before,
        "peak": peak(),
        "seconds": done.seconds,
        "stored": 4 * width * count / 2**20,
    }


def peak() -> float:
    """The largest memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--side", type=int, default=32, help="pixels of a picture's side")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        sys.stdout.write(json.dumps(measure(options.network, options.only, options.side)))
        return
    table = Table(title=f"extract with {options.network}")
    for title in ("samples", "features MB", "before MB", "peak MB", "peak / first", "seconds"):
        table.add_column(title, justify="right")
    first = None
    for count in options.samples:
        command = [sys.executable, *sys.argv, "--only", str(count)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        first = first or found["peak"]
        cells = (found["stored"], found["before"], found["peak"])
        ratio = f"{found['peak'] / first:.3f}"
        table.add_row(
            str(count), *(f"{cell:.0f}" for cell in cells), ratio, f"{found['seconds']:.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
