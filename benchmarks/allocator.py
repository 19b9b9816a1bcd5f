"""What the command line's allocator setting is worth: reading all layers, and the bare forward.

    python benchmarks/allocator.py [--network efficientnet-lite0] [--batch 16] [--rounds 5]

Each cell is the median over new processes, run in turn, of the median batch of each; page faults
and peak memory come from the same processes. On a busy machine trust the CPU time. The setting is
glibc's and acts under Linux only.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

JOBS = ("bare forward", "all layers, pooled")
_BATCHES = 8


def measure(job: str, network: str, batch: int, *, kept: bool) -> dict[str, float]:
    """Time one job in this process; the setting has to come before torch is loaded."""
    from layerwise.cli._allocator import keep_freed_memory

    if kept:
        keep_freed_memory()
    import torch

    import layerwise
    from layerwise.features import Mean

    opened = layerwise.open(network)
    inputs = opened.batch([opened.example[0]] * batch)
    times, work = [], []
    with torch.inference_mode():
        for step in range(_BATCHES + 2):
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start, busy = time.perf_counter(), time.process_time()
            if job == "bare forward":
                opened(inputs)
            else:
                layerwise.taps.pool(opened, inputs, "blocks", [Mean()])
            if step >= 2:
                times.append(time.perf_counter() - start)
                work.append(time.process_time() - busy)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "milliseconds": 1000 * statistics.median(times),
        "cpu": 1000 * statistics.median(work),
        "faults": usage.ru_minflt - faults,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Run every job with and without the setting, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs=2, metavar=("JOB", "KEPT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        job, kept = given.only
        found = measure(job, given.network, given.batch, kept=kept == "kept")
        sys.stdout.write(json.dumps(found))
        return
    cases = [(job, kept) for job in JOBS for kept in ("default", "kept")]
    results: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    same = ["--network", given.network, "--batch", str(given.batch)]
    for _ in range(given.rounds):
        for case in cases:
            command = [sys.executable, __file__, *same, "--only", *case]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[case].append(json.loads(done.stdout))
    _print(results, f"{given.network}, batch {given.batch}")


def _print(results: dict[tuple[str, str], list[dict[str, float]]], title: str) -> None:
    middle = {
        case: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for case, runs in results.items()
    }
    bare = middle[JOBS[0], "default"]
    heads = ("job", "freed memory", "ms", "to bare", "CPU ms", "to bare", "page faults", "peak MB")
    table = Table(*heads, title=title)
    for (job, kept), row in middle.items():
        cells = [
            cell
            for key in ("milliseconds", "cpu")
            for cell in (f"{row[key]:.0f}", f"{row[key] / bare[key]:.2f}")
        ]
        cells += [f"{row['faults']:.0f}", f"{row['peak_mb']:.0f}"]
        table.add_row(job, "given back" if kept == "default" else "kept", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
