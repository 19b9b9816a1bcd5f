"""`extract` from a folder of JPEG files, and the whole `survey`, beside decoding and bare forward.

    python benchmarks/extract.py [--network efficientnet-lite0] [--pictures 500] [--rounds 2]

The parts are decoding with preparation, and the bare forward in batches of the same size; they
alternate with the whole. The targets are 1.05 times their sum for `extract` and 1.3 times for
`survey`, and measures that take at most 15 % of the extraction. Each allocator setting runs in a
process of its own. On a busy machine take OMP_NUM_THREADS=1 and trust the CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _results import Row, keep, machine
from PIL import ImageOps
from rich.console import Console

SETTINGS = ("default", "kept")
MEASURES = ("costs", "comparing layers", "joining", "judging", "choosing")
"""Beginnings of the stages of a survey that measure layers."""


def pictures(folder: Path, count: int) -> None:
    """Write built-in photographs as JPEG files of 500 x 500 pixels, a folder for each photo.

    There are 864 crops; beyond them they come mirrored, upside down, and both.
    """
    import layerwise

    samples = layerwise.data.open("photos", targets=["photo"])
    target = samples.targets["photo"]
    known = [row for row in range(len(samples)) if target.values[row] >= 0]
    turned = [(row, turn) for turn in range(4) for row in known]
    step = max(1, len(known) // count)
    for row, turn in turned[::step][:count]:
        place = folder / target.classes[target.values[row]]
        place.mkdir(parents=True, exist_ok=True)
        picture = samples.load(row).resize((500, 500))
        picture = ImageOps.mirror(picture) if turn % 2 else picture
        picture = ImageOps.flip(picture) if turn > 1 else picture
        picture.save(place / f"{row:05d}-{turn}.jpg", quality=90)


def measure(setting: str, name: str, folder: str, rounds: int, batch: int) -> dict[str, Any]:
    """Time parts and wholes in this process; the setting has to come before torch is loaded."""
    if setting == "kept":
        from layerwise.cli._allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    import layerwise

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    network = layerwise.open(name)
    samples = layerwise.data.open(folder)
    inputs = network.batch([network.prepare(samples.load(index)) for index in range(batch)])
    rest = len(samples) % batch
    stages: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as out:
        layerwise.extract(network, samples, f"{out}/warm.lance", limit=batch, workers=0)
        turn = 0

        def decode() -> None:
            for index in range(len(samples)):
                network.prepare(samples.load(index))

        def forward() -> None:
            with torch.inference_mode():
                for _ in range(len(samples) // batch):
                    network(inputs)
                if rest:
                    network(inputs[:rest])

        def extract() -> None:
            layerwise.extract(network, samples, f"{out}/{turn}.lance", batch_size=batch)

        def survey() -> None:
            atlas = layerwise.survey([network], samples, out=f"{out}/{turn}")
            stages.append(dict(atlas.provenance.seconds))

        times: dict[str, list[tuple[float, float]]] = {}
        for turn in range(rounds):
            for work in (
                (decode, forward, extract, survey) if turn < 1 else (decode, forward, extract)
            ):
                times.setdefault(work.__name__, []).append(_timed(work))
    return {"times": times, "stages": stages, "pictures": len(samples)}


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Run with and without the setting, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--only", nargs=2, metavar=("SETTING", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        setting, folder = given.only
        found = measure(setting, given.network, folder, given.rounds, given.batch)
        sys.stdout.write(json.dumps(found))
        return
    facts = machine("pillow", "pylance")
    same = ["--network", given.network, "--rounds", str(given.rounds), "--batch", str(given.batch)]
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder), given.pictures)
        for setting in given.settings:
            command = [sys.executable, __file__, *same, "--only", setting, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[setting] = json.loads(done.stdout)
    rows = [_row(setting, runs, clock) for setting in given.settings for clock in (0, 1)]
    details = {"network": given.network, "batch": given.batch, "runs": runs}
    Console().print(keep("extract", facts, rows, details), soft_wrap=True, markup=False)


def _row(setting: str, runs: dict[str, Any], clock: int) -> Row:
    def middle(job: str, of: str = setting) -> float:
        return statistics.median(seconds[clock] for seconds in runs[of]["times"][job])

    parts = middle("decode") + middle("forward")
    ordinary = (
        middle("decode", "default") + middle("forward", "default") if "default" in runs else None
    )
    stages = runs[setting]["stages"][0]
    measures = sum(s for name, s in stages.items() if name.startswith(MEASURES))
    return {
        "allocator": f"{setting}, {runs[setting]['pictures']} pictures",
        "time": ("clock", "CPU")[clock],
        "decode s": middle("decode"),
        "bare forward s": middle("forward"),
        "extract s": middle("extract"),
        "extract / (decode + forward)": middle("extract") / parts,
        "the same, to the default allocator's parts": ordinary and middle("extract") / ordinary,
        "survey / (decode + forward)": middle("survey") / parts,
        "measures / extract": None if clock else measures / middle("extract"),
    }


if __name__ == "__main__":
    main()
