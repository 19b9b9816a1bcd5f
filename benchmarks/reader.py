"""A cut reader beside the whole network with a head on its last layer, and its ways to run.

    python benchmarks/reader.py [--networks NAME ...] [--limit 400] [--turns 5]

For each starter network and target: score, milliseconds and megabytes of a reader at the layer that
validation chose, and of the same kind of readout on the last layer of the whole network; `predict`
from files to answers against the bare forward of the cut network on prepared batches; onnxruntime
against torch. The split is the same for both, scores are on its test samples. What is compared
alternates in one process, in CPU seconds of a single thread (`OMP_NUM_THREADS=1`), with the
allocator as the command line sets it.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from layerwise.cli._allocator import keep_freed_memory

keep_freed_memory()

import torch  # noqa: E402
from _results import Row, keep, machine  # noqa: E402
from rich.console import Console  # noqa: E402

import layerwise  # noqa: E402
from layerwise import atlas  # noqa: E402
from layerwise.atlas._exported import opened  # noqa: E402
from layerwise.atlas._leaderboard import rank  # noqa: E402
from layerwise.atlas._reader import pooling_named  # noqa: E402

NETWORKS = ("minilm-l6", "efficientnet-lite0", "dinov2-small", "smollm2-135m")
TARGETS = {"image": ("blur", "rotation"), "text": ("kind", "words")}
BATCH, TIMED = 8, 16


def measure(
    network: layerwise.Network, samples: layerwise.data.Samples, target: str, turns: int, kept: Path
) -> Row:
    """Fit both readers on the same features, and time their ways to an answer."""
    ranked, done = rank([network], samples, target, store=kept)
    last = network.layers.select("blocks")[-1].name
    end = next(each for each in ranked if each.layer == last)
    both = [
        atlas.fit_reader(
            network,
            samples,
            target,
            layers=[way.layer],
            poolings=[pooling_named(way.pooling)],
            readout=way.readout,
            extraction=done[network.name],
        )
        for way in (ranked[0], end)
    ]
    reader, quality, other = both[0], both[0].facts.quality, both[1].facts.quality
    taken = _timed(_jobs(network, reader, _files(samples, kept / "files"), kept), turns)
    ms = {job: 1000 * seconds / TIMED for job, seconds in taken.items()}
    return {
        "network, target": f"{network.name}, {target}",
        "cut after": f"{ranked[0].layer}, {ranked[0].readout}",
        "score": f"{quality.score:.3f} ({quality.low:.2f} to {quality.high:.2f})",
        "at the last layer": f"{other.score:.3f} ({other.low:.2f} to {other.high:.2f})",
        "ms": ms["reader"],
        "whole network ms": ms["whole"],
        "MB": reader.facts.bytes[1] / 1e6,
        "whole network MB": reader.facts.bytes[0] / 1e6,
        "bare / predict": taken["bare"] / taken["predict"],
        "(preparation + bare) / predict": (taken["prepare"] + taken["bare"]) / taken["predict"],
        "torch / onnxruntime": taken["reader"] / taken["onnx"],
    }


def _files(samples: layerwise.data.Samples, folder: Path) -> layerwise.data.Samples:
    """A few samples as people have them: JPEG files, or texts."""
    few = samples.take(range(TIMED))
    if samples.modality != "image":
        return few
    folder.mkdir(exist_ok=True)
    for i in range(len(few)):
        few.load(i).convert("RGB").save(folder / f"{i}.jpg", quality=90)
    return layerwise.data.open(str(folder))


def _jobs(
    network: layerwise.Network, reader: atlas.Reader, few: layerwise.data.Samples, folder: Path
) -> dict[str, Callable[[], object]]:
    def prepared() -> list[object]:
        return [reader.feed.prepare(few.load(i)) for i in range(len(few))]

    held = prepared()
    batches = [reader.batch(held[at : at + BATCH]) for at in range(0, len(held), BATCH)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = opened(atlas.export_onnx(reader, folder / "reader.onnx"))
    return {
        "prepare": prepared,
        "bare": lambda: [
            reader.cut(**each) if isinstance(each, dict) else reader.cut(each) for each in batches
        ],
        "predict": lambda: list(reader.stream(few, batch_size=BATCH, workers=0)),
        "reader": lambda: [reader(each) for each in batches],
        "whole": lambda: [network(each) for each in batches],
        "onnx": lambda: [run(each) for each in batches],
    }


def _timed(jobs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median CPU seconds of each job; they alternate, and the first round warms up."""
    taken: dict[str, list[float]] = {job: [] for job in jobs}
    for turn in range(1 + turns):
        for job in list(jobs) if turn % 2 else list(jobs)[::-1]:
            start = time.process_time()
            with torch.inference_mode():
                jobs[job]()
            taken[job].append(time.process_time() - start)
    return {job: statistics.median(times[1:]) for job, times in taken.items()}


def main() -> None:
    """Measure every network and target, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--targets", nargs="+", default=[*TARGETS["image"], *TARGETS["text"]])
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    facts, rows, table = machine("onnxruntime"), [], ""
    details = {"limit": given.limit, "turns": given.turns, "batch": BATCH, "timed": TIMED}
    for name in given.networks:
        network = layerwise.open(name)
        targets = [each for each in TARGETS[network.modality] if each in given.targets]
        source = "photos" if network.modality == "image" else "stdlib"
        samples = layerwise.data.open(source, limit=given.limit, targets=targets)
        with TemporaryDirectory() as folder:
            for target in targets:
                rows.append(measure(network, samples, target, given.turns, Path(folder)))
                table = keep("reader", facts, rows, details)  # now, for a run that is stopped
    Console().print(table, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
