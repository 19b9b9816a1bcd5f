"""A cut reader beside the whole network with a head on its last layer, and its ways to run.

    python benchmarks/reader.py [--networks NAME ...] [--limit 200] [--turns 5]

For each starter network and target: score, milliseconds and megabytes of a reader at the layer that
validation chose, and of the same readout on the last layer of the whole network; the throughput of
`predict` from decoded samples to answers against the bare forward of the cut network on prepared
batches; onnxruntime against torch. What is compared alternates in one process. Scores are on test
samples; the split is the same for both.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _results import Row, keep, machine
from rich.console import Console

import layerwise
from layerwise import atlas
from layerwise.atlas._leaderboard import rank
from layerwise.atlas._reader import pooling_named
from layerwise.errors import LayerwiseError

NETWORKS = ("efficientnet-lite0", "dinov2-small", "minilm-l6")
TARGETS = {"image": ("blur", "rotation"), "text": ("kind", "words")}
BATCH = 8


def measure(name: str, target: str, limit: int, turns: int, store: Path) -> Row:
    """Fit both readers on the same features, and time their ways to an answer."""
    network = layerwise.open(name)
    source = "photos" if network.modality == "image" else "stdlib"
    samples = layerwise.data.open(source, limit=limit, targets=[target])
    ranked, done = rank([network], samples, target, store=store)
    best = ranked[0]
    last = network.layers.select("blocks")[-1].name
    ends = [each for each in ranked if each.layer == last]

    def reader(way: Any) -> atlas.Reader:
        return atlas.fit_reader(
            network,
            samples,
            target,
            layers=[way.layer],
            poolings=[pooling_named(way.pooling)],
            readout=way.readout,
            extraction=done[network.name],
        )

    chosen, end = reader(best), reader(ends[0])
    few = samples.take(range(min(len(samples), 4 * BATCH)))
    batches = [
        chosen.batch([chosen.feed.prepare(few.load(i)) for i in range(at, at + BATCH)])
        for at in range(0, len(few) - BATCH + 1, BATCH)
    ]

    def forwards() -> None:
        with torch.inference_mode():
            for inputs in batches:
                chosen.cut(**inputs) if isinstance(inputs, dict) else chosen.cut(inputs)

    jobs: dict[str, Callable[[], object]] = {
        "bare": forwards,
        "predict": lambda: chosen.predict(few, batch_size=BATCH),
        "reader": lambda: [chosen(inputs) for inputs in batches],
        "whole": lambda: [network(inputs) for inputs in batches],
    }
    with TemporaryDirectory() as folder:
        session = _session(chosen, Path(folder))
        if session is not None:
            fed = [_fed(inputs, session) for inputs in batches]
            jobs["onnx"] = lambda: [session.run(None, inputs) for inputs in fed]
        taken = _timed(jobs, turns)
    quality, other = chosen.facts.quality, end.facts.quality
    return {
        "network, target": f"{name}, {target}",
        "layer": best.layer,
        "score": quality.score,
        "score at the last layer": other.score,
        "ms a sample": taken["reader"] / len(few) * 1000,
        "whole network": taken["whole"] / len(few) * 1000,
        "MB": chosen.facts.bytes[1] / 1e6,
        "whole network MB": chosen.facts.bytes[0] / 1e6,
        "predict / bare": taken["bare"] / taken["predict"],
        "torch / onnxruntime": taken["reader"] / taken["onnx"] if "onnx" in taken else None,
    }


def _timed(jobs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median seconds of each job; they alternate, and the first round warms up."""
    taken: dict[str, list[float]] = {job: [] for job in jobs}
    for turn in range(1 + turns):
        for job in list(jobs) if turn % 2 else list(jobs)[::-1]:
            start = time.perf_counter()
            with torch.inference_mode():
                jobs[job]()
            taken[job].append(time.perf_counter() - start)
    return {job: statistics.median(times[1:]) for job, times in taken.items()}


def _session(reader: atlas.Reader, folder: Path) -> Any:
    import onnxruntime

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = atlas.export_onnx(reader, folder / "reader.onnx")
    except LayerwiseError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options)


def _fed(inputs: Any, session: Any) -> dict[str, Any]:
    named = inputs if isinstance(inputs, dict) else {session.get_inputs()[0].name: inputs}
    return {name: value.numpy() for name, value in named.items()}


def main() -> None:
    """Measure every network and target, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    facts = machine("onnxruntime")
    rows = []
    for name in given.networks:
        for target in TARGETS[layerwise.open(name).modality]:
            with TemporaryDirectory() as folder:
                rows.append(measure(name, target, given.limit, given.turns, Path(folder)))
    details = {"limit": given.limit, "turns": given.turns, "batch": BATCH}
    Console().print(keep("reader", facts, rows, details), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
