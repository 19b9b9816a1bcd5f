"""Exported readers beside the readers that they were made from, for each starter network.

    python benchmarks/export.py [--networks NAME ...] [--samples 200]

A linear readout on an early or middle layer is fitted, written as ONNX and as a program of
torch.export, and both are held against the reader on the same samples: largest difference of an
answer, size, and time of a sample alone and in a batch of 32. The ONNX file answers in a process
that has onnxruntime and numpy, and neither this library nor torch. Times are medians of CPU seconds
of one thread (`OMP_NUM_THREADS=1`), alternating.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _results import Row, keep, machine
from rich.console import Console

import layerwise
from layerwise import atlas
from layerwise.atlas._exported import opened
from layerwise.errors import LayerwiseError
from layerwise.models._examples import Inputs, repeated

LAYERS = {
    "minilm-l6": ("stdlib", "kind", "encoder.layer.1"),
    "efficientnet-lite0": ("photos", "blur", "blocks.2.1"),
    "dinov2-small": ("photos", "rotation", "encoder.layer.3"),
    "smollm2-135m": ("stdlib", "kind", "model.layers.14"),
}
WAYS = {".onnx": atlas.export_onnx, ".pt2": atlas.export_program}
FITTED = 30  # below 32, so that `fit_reader` times no batch of 32 on the whole network
BATCH, SIZES = 8, (1, 32)
ALONE = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
session = onnxruntime.InferenceSession(folder / "reader.onnx")
names = [each.name for each in session.get_inputs()]
for path in sorted(folder.glob("given*.npz")):
    given = np.load(path)
    answers, _ = session.run(None, {name: given[name] for name in names})
    np.save(folder / path.with_suffix(".npy").name.replace("given", "found"), answers)
assert not {"torch", "layerwise"} & set(sys.modules)
"""


def measure(name: str, count: int, turns: int, folder: Path) -> list[Row]:
    """Fit one reader, write it in both forms, and run both."""
    source, target, layer = LAYERS[name]
    samples = layerwise.data.open(source, limit=count, targets=[target])
    known = samples.targets[target].known.nonzero().flatten().tolist()
    few = samples.take(known[:FITTED])
    reader = atlas.fit_reader(layerwise.open(name), few, target, layers=layer)
    prepared = [reader.feed.prepare(samples.load(i)) for i in range(len(samples))]
    batches = [reader.batch(prepared[at : at + BATCH]) for at in range(0, len(prepared), BATCH)]
    with torch.inference_mode():
        wanted = torch.cat([reader(each)[0] for each in batches])
    rows: list[Row] = []
    for suffix, write in WAYS.items():
        row: Row = {"reader": f"{name}, {layer}", "file": suffix}
        try:
            path = written(reader, write, folder / f"reader{suffix}")
        except LayerwiseError as error:
            rows.append(row | {"largest difference": str(error)[:120]})
            continue
        found = alone(batches, folder) if suffix == ".onnx" else beside(batches, path)
        timed = [times(reader, path, size, turns) for size in SIZES]
        rows.append(
            row
            | {
                "samples": f"{len(wanted)}",
                "largest difference": f"{float((found - wanted).abs().max()):.0e}",
                "network MB": reader.facts.bytes[0] / 1e6,
                "reader MB": sum(t.nbytes for t in reader.state_dict().values()) / 1e6,
                "file MB": path.stat().st_size / 1e6,
                **{f"ms, {n}": its for n, (_, its) in zip(SIZES, timed, strict=True)},
                **{f"reader / file, {n}": a / b for n, (a, b) in zip(SIZES, timed, strict=True)},
            }
        )
    return rows


def written(reader: atlas.Reader, write: object, path: Path) -> Path:
    """Write one form, without what torch says meanwhile."""
    assert callable(write)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Path(write(reader, path))


def alone(batches: list[Inputs], folder: Path) -> torch.Tensor:
    """Answers of the ONNX file in a process without this library and without torch."""
    for i, each in enumerate(batches):
        held = each if isinstance(each, dict) else {"input": each}
        np.savez(folder / f"given{i:04}.npz", **{n: value.numpy() for n, value in held.items()})
    subprocess.run([sys.executable, "-c", ALONE, folder], check=True)
    return torch.cat([torch.from_numpy(np.load(p)) for p in sorted(folder.glob("found*.npy"))])


def beside(batches: list[Inputs], path: Path) -> torch.Tensor:
    """Answers of the program, which torch runs."""
    run = opened(path)
    with torch.inference_mode():
        return torch.cat([run(each)[0] for each in batches])


def times(reader: atlas.Reader, path: Path, size: int, turns: int) -> tuple[float, float]:
    """CPU milliseconds of a sample in a batch of this size: the reader's and the file's."""
    ways, inputs = (reader, opened(path)), repeated(reader.known_batch(), size)
    taken: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(1 + turns):
            for way, each in zip(ways, taken, strict=True):
                start = time.process_time()
                way(inputs)
                each.append(1000 * (time.process_time() - start) / size)
    mine, its = (statistics.median(each[1:]) for each in taken)  # the first run warms up
    return mine, its


def main() -> None:
    """Measure every network, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(LAYERS))
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    facts, rows, table = machine("onnxruntime"), [], ""
    for name in given.networks:
        with TemporaryDirectory() as folder:
            rows += measure(name, given.samples, given.turns, Path(folder))
        table = keep("export", facts, rows, vars(given))  # now, for a run that is stopped
    Console().print(table, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
