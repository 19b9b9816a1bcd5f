"""Reading layers beside the bare forward: all block outputs, pooled, and one middle layer alone.

Layers are read as `extract` reads them, with taps that are held over many batches. Pictures are
also fed with their channels last, as `extract` feeds them to a network on a CPU that allows it.

    python benchmarks/reading.py [--networks NAME ...] [--batch 8] [--turns 7] [--rounds 2]

Every network runs in processes of its own, with glibc's allocator as it is and with the command
line's setting, in turn. Within a process the jobs alternate and their order changes; a ratio is the
median over pairs that ran side by side. One layer is held against its share of the same forward,
timed by a hook. On a busy machine take OMP_NUM_THREADS=1 and trust the CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from _results import Row, keep, machine, resident
from rich.console import Console

NETWORKS = ("efficientnet-lite0", "dinov2-small", "minilm-l6", "smollm2-135m")
BARE, ALL, ONE = "bare forward", "all layers, pooled", "middle layer, pooled"
FED = "all layers, pooled, as extract feeds them"
SETTINGS = ("default", "kept")
Seconds = tuple[float, float]
"""On the clock, and of all cores together."""
Job = Callable[[], AbstractContextManager[Callable[[Any], object]]]
"""Gets ready, and gives what is timed."""


def measure(name: str, setting: str, batch: int, turns: int) -> dict[str, Any]:
    """Time the jobs in this process; the setting has to come before torch is loaded."""
    if setting == "kept":
        from layerwise.cli._allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    import layerwise
    from layerwise.features import Mean
    from layerwise.taps import pooling
    from layerwise.taps._channels_last import channels_last, channels_last_helps

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    network = layerwise.open(name)
    source = "photos" if network.modality == "image" else "stdlib"
    samples = layerwise.data.open(source, limit=batch)
    inputs = network.batch([network.prepare(samples.load(index)) for index in range(batch)])
    middle = network.layers.select("50%")[0]
    blocks = network.layers.select("blocks")

    with pooling(network, "blocks", [Mean()]) as run:
        fed = channels_last(inputs) if channels_last_helps(network, run) else inputs

    def bare() -> None:
        with torch.inference_mode():
            network(inputs)

    jobs: dict[str, Job] = {
        BARE: lambda: nullcontext(lambda _: bare()),
        ALL: lambda: pooling(network, "blocks", [Mean()]),
        FED: lambda: pooling(network, "blocks", [Mean()]),
        ONE: lambda: pooling(network, middle.name, [Mean()]),
    }
    memory = {}
    for job, begin in jobs.items():
        with begin() as work:
            start = resident("VmRSS", afresh=True)
            work(inputs)
            memory[job] = resident("VmHWM") - start
    times: dict[str, list[Seconds]] = {job: [] for job in jobs}
    shares: list[Seconds] = []
    for turn in range(turns):
        for job in list(jobs) if turn % 2 else list(jobs)[::-1]:
            with jobs[job]() as work:
                times[job].append(_timed(partial(work, fed if job == FED else inputs)))
        shares.append(_share(network.module.get_submodule(middle.name), bare))
    return {
        "memory": memory,
        "times": times,
        "shares": shares,
        "batch": batch,
        "middle": middle.name,
        "layers": len(blocks),
    }


def _timed(work: Callable[[], object]) -> Seconds:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def _share(module: Any, forward: Callable[[], None]) -> Seconds:
    """Share of a forward that has passed once a module's output is there."""
    seen = []
    hook = module.register_forward_hook(
        lambda *_: seen.append((time.perf_counter(), time.process_time()))
    )
    clock, processor = time.perf_counter(), time.process_time()
    spent = _timed(forward)
    hook.remove()
    return (seen[0][0] - clock) / spent[0], (seen[0][1] - processor) / spent[1]


def main() -> None:
    """Run every network with and without the setting, in turn, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs=2, metavar=("NETWORK", "SETTING"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        sys.stdout.write(json.dumps(measure(*given.only, given.batch, given.turns)))
        return
    facts = machine()
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    same = ["--batch", str(given.batch), "--turns", str(given.turns)]
    for turn in range(given.rounds):
        for name in given.networks:
            for setting in SETTINGS if turn % 2 == 0 else SETTINGS[::-1]:
                command = [sys.executable, __file__, *same, "--only", name, setting]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = runs.setdefault(name, {}).setdefault(setting, [])
                found.append(json.loads(done.stdout))
    rows = [_row(name, runs[name], clock) for name in given.networks for clock in (0, 1)]
    details = {"turns": given.turns, "runs": runs}
    Console().print(keep("reading", facts, rows, details), soft_wrap=True, markup=False)


def _row(name: str, runs: dict[str, list[dict[str, Any]]], clock: int) -> Row:
    first = runs["default"][0]

    def paired(setting: str, job: str) -> float | None:
        if setting not in runs:
            return None
        return statistics.median(
            one[clock] / bare[clock]
            for run in runs[setting]
            for one, bare in zip(run["times"][job], run["times"][BARE], strict=True)
        )

    def seconds(setting: str, job: str) -> float | None:
        if setting not in runs:
            return None
        return statistics.median(t[clock] for run in runs[setting] for t in run["times"][job])

    share = statistics.median(s[clock] for run in runs["default"] for s in run["shares"])
    memory = {
        job: statistics.median(run["memory"][job] for run in runs["default"]) for job in (BARE, ALL)
    }
    ordinary, kept = seconds("default", BARE), seconds("kept", FED)
    one = paired("default", ONE)
    assert ordinary is not None
    assert one is not None
    return {
        "network": f"{name}, {first['layers']} layers, batch {first['batch']}",
        "time": ("clock", "CPU")[clock],
        "bare ms": 1000 * ordinary,
        "all layers / bare": paired("default", ALL),
        "the same, both with our allocator setting": paired("kept", ALL),
        "as extract feeds them": paired("default", FED),
        "as the command does it / bare without": kept and kept / ordinary,
        "one layer / its share": one / share,
        "its share": share,
        "bare peak MB": memory[BARE],
        "all layers peak MB": memory[ALL],
    }


if __name__ == "__main__":
    main()
