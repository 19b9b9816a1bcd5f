"""Exported readers beside the readers that they were made from, for each starter network.

    python benchmarks/export.py [--networks NAME ...] [--samples 200]

A linear readout on an early layer is fitted, written as ONNX and as a program of torch.export, and
both are run on the same samples: largest difference of an answer, size, and time of a sample alone
and in a batch of 32, against the reader. Times are medians on the clock, alternating.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from _results import Row, keep, machine
from rich.console import Console

import layerwise
from layerwise import atlas
from layerwise.errors import LayerwiseError

LAYERS = {
    "minilm-l6": ("stdlib", "kind", "encoder.layer.1"),
    "efficientnet-lite0": ("photos", "blur", "blocks.2.1"),
    "dinov2-small": ("photos", "rotation", "encoder.layer.3"),
    "smollm2-135m": ("stdlib", "kind", "model.layers.2"),
}
WAYS = {".onnx": atlas.export_onnx, ".pt2": atlas.export_program}


def measure(name: str, count: int, folder: Path) -> list[Row]:
    """Fit one reader, write it in both forms, and run both."""
    source, target, layer = LAYERS[name]
    samples = layerwise.data.open(source, limit=count, targets=[target])
    few = samples.take(range(min(len(samples), 60)))
    reader = atlas.fit_reader(layerwise.open(name), few, target, layers=layer)
    rows: list[Row] = []
    for suffix, write in WAYS.items():
        path = folder / f"reader{suffix}"
        row: Row = {"reader": f"{name}, {layer}", "file": suffix}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = atlas.compare_export(reader, write(reader, path), samples, repeats=3)
        except LayerwiseError as error:
            rows.append(row | {"largest difference": str(error)[:120]})
            continue
        rows.append(
            row
            | {
                "samples": f"{found.samples}",
                "largest difference": f"{found.difference:.0e}",
                "MB": found.megabytes[1],
                "ms, 1": found.milliseconds[0][1],
                "ms, 32": found.milliseconds[1][1],
                "reader / file, 1": found.milliseconds[0][0] / found.milliseconds[0][1],
                "reader / file, 32": found.milliseconds[1][0] / found.milliseconds[1][1],
            }
        )
    return rows


def main() -> None:
    """Measure every network, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(LAYERS))
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    facts, rows, table = machine("onnxruntime"), [], ""
    for name in given.networks:
        with TemporaryDirectory() as folder:
            rows += measure(name, given.samples, Path(folder))
        table = keep("export", facts, rows, {})  # now, for a run that is stopped
    Console().print(table, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
