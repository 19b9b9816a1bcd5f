"""Exact layer x layer CKA of 20 layers (4,432 channels, 2,000 samples): time, memory and error.

    python benchmarks/cka.py [--rounds 5] [--slow]

Every contender runs in processes of its own, in turn, and is timed once it is warm. Peak memory is
what the call needs beyond the features; the error is against kernels written out in float64. On a
busy machine trust the CPU seconds of one thread (OMP_NUM_THREADS=1), not the time on the clock.
The table goes into README.md.
Rivals are measured where they are installed (`pip install pytorch-cka ckatorch torch_cka`);
`--slow` adds those that go pair by pair and take minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from layerwise.measures import CKA, cka

WIDTHS = (
    32,
    16,
    24,
    24,
    40,
    40,
    80,
    80,
    80,
    112,
    112,
    112,
    192,
    192,
    192,
    192,
    320,
    1280,
    1280,
    32,
)
SAMPLES = 2000


def features() -> list[Tensor]:
    """Layers after ReLU that hand on what they were given, like those of a network."""
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(SAMPLES, WIDTHS[0], generator=generator).relu()]
    for width in WIDTHS[1:]:
        mix = torch.randn(layers[-1].shape[1], width, generator=generator) / width**0.5
        noise = torch.randn(SAMPLES, width, generator=generator)
        layers.append((layers[-1] @ mix + noise).relu())
    return layers


def exact(layers: list[Tensor]) -> Tensor:
    """Unbiased CKA from whole kernels in float64, two at a time."""

    def kernel(layer: Tensor) -> Tensor:
        product = layer.double() @ layer.double().T
        return product.fill_diagonal_(0)

    def hsic(one: Tensor, two: Tensor) -> Tensor:
        n = len(one)
        rows = one.sum(0), two.sum(0)
        middle = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
        return (one * two).sum() + middle - 2 / (n - 2) * (rows[0] @ rows[1])

    values = torch.zeros(len(layers), len(layers), dtype=torch.float64)
    for i, layer in enumerate(layers):
        one = kernel(layer)
        for j in range(i, len(layers)):
            values[i, j] = values[j, i] = hsic(one, kernel(layers[j]))
    own = values.diagonal().sqrt()
    return values / torch.outer(own, own)


class Columns(nn.Module):
    """A network whose layers give back the features they were made with."""

    def __init__(self, layers: list[Tensor]) -> None:
        super().__init__()
        self.widths = [layer.shape[1] for layer in layers]
        self.parts = nn.ModuleList(nn.Identity() for _ in layers)

    def forward(self, joint: Tensor) -> Tensor:
        """Hand each layer its columns; the last one is the output."""
        for part, columns in zip(self.parts, joint.split(self.widths, dim=1), strict=True):
            last = part(columns)
        return last


def _whole(layers: list[Tensor]) -> DataLoader:
    joint = torch.cat(layers, dim=1)
    return DataLoader(TensorDataset(joint), batch_size=len(joint))


def ours(layers: list[Tensor]) -> Tensor:
    """All samples at once, float32."""
    return cka(layers)


def ours_streamed(layers: list[Tensor]) -> Tensor:
    """Batches of 256, sums in float64."""
    streamed = CKA()
    for batch in zip(*(layer.split(256) for layer in layers), strict=True):
        streamed.update(batch)
    return streamed.result()


def ours_double(layers: list[Tensor]) -> Tensor:
    """All samples at once, float64."""
    return cka([layer.double() for layer in layers])


def pytorch_cka_features(layers: list[Tensor]) -> Tensor:
    """pytorch-cka from features, as it comes."""
    from cka import cka_from_features

    return cka_from_features(layers, layers)


def pytorch_cka_double(layers: list[Tensor]) -> Tensor:
    """pytorch-cka from features in float64."""
    from cka import cka_from_features

    double = [layer.double() for layer in layers]
    return cka_from_features(double, double)


def pytorch_cka_network(layers: list[Tensor]) -> Tensor:
    """pytorch-cka from one network, where it shares the kernels of both sides."""
    from cka import compute_cka

    network = Columns(layers)
    names = [f"parts.{i}" for i in range(len(layers))]
    return compute_cka(network, network, _whole(layers), layers=names, progress=False)[0]


def ckatorch_pairs(layers: list[Tensor]) -> Tensor:
    """ckatorch, pair by pair."""
    from ckatorch.core import cka_base

    values = torch.ones(len(layers), len(layers), dtype=torch.float64)
    for i, one in enumerate(layers):
        for j in range(i):
            values[i, j] = values[j, i] = cka_base(one, layers[j], unbiased=True)
    return values


def torch_cka_network(layers: list[Tensor]) -> Tensor:
    """torch_cka from one network."""
    import torch_cka

    network = Columns(layers)
    names = [f"parts.{i}" for i in range(len(layers))]
    rival = torch_cka.CKA(network, network, model1_layers=names, model2_layers=names)
    with torch.no_grad():
        rival.compare(_whole(layers))
    return rival.hsic_matrix


QUICK = (
    ours,
    ours_streamed,
    ours_double,
    pytorch_cka_features,
    pytorch_cka_network,
    pytorch_cka_double,
)
SLOW = (ckatorch_pairs, torch_cka_network)
PACKAGES = ("pytorch-cka", "ckatorch", "torch_cka")


def measure(contender: Callable[[list[Tensor]], Tensor], reference: Path, times: int) -> str:
    """Run in a child process; prints what was measured as JSON."""
    layers = features()
    with contextlib.redirect_stdout(sys.stderr):
        contender([layer[:50] for layer in layers])  # imports, threads
        before = _resident("VmRSS", reset=True)
        seconds, work = [], []
        for turn in range(times):
            start, begun = time.perf_counter(), time.process_time()
            values = contender(layers)
            seconds.append(time.perf_counter() - start)
            work.append(time.process_time() - begun)
            if turn == 0:
                peak = _resident("VmHWM") - before
    error = (values.double() - torch.load(reference)).abs().max().item()
    median = statistics.median
    measured = {"seconds": median(seconds), "cpu": median(work), "megabytes": peak, "error": error}
    return json.dumps(measured)


def _resident(field: str, *, reset: bool = False) -> float:
    """Megabytes of this process, now (VmRSS) or at most since the last reset (VmHWM); Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    """Run every contender in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "REFERENCE", "TIMES"))
    options = parser.parse_args()
    if options.child:
        name, reference, times = options.child
        sys.stdout.write(measure(globals()[name], Path(reference), int(times)))
        return
    from _results import keep, machine  # not in a child, whose path leaves this folder out

    console = Console(width=200)
    facts = machine(*PACKAGES)
    reference = Path(os.environ.get("TMPDIR", "/tmp")) / f"layerwise-cka-{os.getpid()}.pt"
    torch.save(exact(features()), reference)
    results: dict[str, list[dict[str, float]]] = {}
    left_out: dict[str, str] = {}
    for turn in range(options.rounds):
        for contender in (*QUICK, *(SLOW if options.slow and turn == 0 else ())):
            times = "1" if contender in SLOW else "5"
            # -P: this file must not hide the rival package that has its name.
            command = [sys.executable, "-P", __file__, "--child", contender.__name__]
            command += [str(reference), times]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                left_out[contender.__name__] = done.stderr.strip().splitlines()[-1]
                continue
            results.setdefault(contender.__name__, []).append(json.loads(done.stdout))
    reference.unlink()
    rows = [_row(name, results) for name in results]
    table = keep("cka", facts, rows, {"left out": left_out, "runs": results})
    console.print(table, left_out, markup=False)


def _row(name: str, results: dict[str, list[dict[str, float]]]) -> dict[str, str | float | None]:
    def median(of: str, field: str) -> float:
        return statistics.median(run[field] for run in results[of])

    said = globals()[name].__doc__.removesuffix(".")
    row: dict[str, str | float | None] = {"exact CKA by": f"{name}: {said}"}
    for field, title in (("seconds", "seconds"), ("cpu", "CPU s"), ("megabytes", "peak MB")):
        row[title] = median(name, field)
        row[f"{title} / ours"] = median(name, field) / median("ours", field)
    return row | {"largest error": f"{median(name, 'error'):.0e}"}


if __name__ == "__main__":
    main()
