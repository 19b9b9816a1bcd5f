"""MACO beside Horama, and the trace of a language model beside its plain forward.

    python benchmarks/visualize.py [--steps 64] [--crops 6] [--size 256] [--turns 3]

Both MACOs get the same network, picture size, crop size range, number of crops and steps, and the
same magnitudes (ours, in Horama's colours), because Horama fetches its own from the web. What is
reached is measured alike: the mean answer to the same crops of a quarter of the picture. Horama 0.3
is not a dependency; where it is not installed its rows are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from _results import Row, keep, machine
from rich.console import Console

import layerwise
from layerwise.explain import information_flow, maco
from layerwise.explain._maco import _crops
from layerwise.explain._pixels import Pixels
from layerwise.explain._response import respond
from layerwise.explain._spectrum import natural

UNITS = (("classifier", 281), ("classifier", 985), ("blocks.3.0", 5))
SIDE = 112
TEXTS = {10: "The capital of France is a city that lies on", 40: "The capital of France is " * 8}
Seconds = tuple[float, float]
"""On the clock, and of all cores together."""


def timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """What some work gives, and how long it took."""
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - clock, time.process_time() - processor)


def ours(network: layerwise.Network, layer: str, unit: int, given: argparse.Namespace) -> Any:
    """Our MACO's picture, values from 0 to 1."""
    options = {"size": given.size, "side": SIDE, "steps": given.steps, "crops": given.crops}
    # Horama's crops measure 0.25 to 0.3 of the picture at every step.
    return maco(network, layer=layer, unit=unit, widths=(0.275, 0.275), **options).picture


def theirs(network: layerwise.Network, layer: str, unit: int, given: argparse.Namespace) -> Any:
    """Horama's picture, brought to values from 0 to 1."""
    from horama import maco_fv

    magnitude = natural(given.size, given.size).magnitude.float()
    chosen, pixels = network.layers[layer], Pixels.of(network)

    def start(_: Any, std_deviation: float = 1.0) -> Any:
        return magnitude, std_deviation * torch.randn(magnitude.shape)

    maco_fv.init_maco_buffer = start
    low, high = (float((value - pixels.mean[0]) / pixels.std[0]) for value in (0.0, 1.0))
    torch.manual_seed(0)
    picture, _ = maco_fv.maco(
        lambda shown: respond(network, shown, chosen, unit).mean(),
        total_steps=given.steps,
        image_size=given.size,
        model_input_size=SIDE,
        values_range=(low, high),
        crops_per_iteration=given.crops,
        device="cpu",
    )
    return ((picture.detach() - low) / (high - low)).clamp(0, 1)


def reached(network: layerwise.Network, layer: str, unit: int, picture: Any) -> float:
    """Mean answer to 24 crops of a quarter of the picture."""
    with torch.no_grad():
        seen = _crops(picture, 24, 0.25, (SIDE, SIDE), torch.Generator().manual_seed(1))
        inputs = Pixels.of(network).feed(seen)
        return float(respond(network, inputs, network.layers[layer], unit).mean())


def visualisations(given: argparse.Namespace) -> list[Row]:
    """One row for each unit and package."""
    network = layerwise.open("efficientnet-lite0")
    packages = {"layerwise": ours}
    if find_spec("horama"):
        packages["horama"] = theirs
    rows: list[Row] = []
    for layer, unit in UNITS:
        for name, draw in packages.items():
            picture, seconds = timed(lambda draw=draw: draw(network, layer, unit, given))  # noqa: B023
            rows.append(
                {
                    "what": f"{layer} unit {unit}, {given.steps} steps of {given.crops} crops",
                    "with": name,
                    "s": seconds[0],
                    "CPU s": seconds[1],
                    "answer reached": reached(network, layer, unit, picture),
                }
            )
    return rows


def traces(given: argparse.Namespace) -> list[Row]:
    """The flow of a text, and what transformers takes for a forward with all attentions."""
    network = layerwise.open("smollm2-135m")
    rows: list[Row] = []
    for text in TEXTS.values():
        ids = network.batch([network.prepare(text)])["input_ids"]
        jobs: dict[str, Callable[[], Any]] = {
            "plain forward of transformers": lambda ids=ids: plain(network, ids),
            "information flow": lambda ids=ids: information_flow(network, ids),
        }
        times: dict[str, list[Seconds]] = {job: [] for job in jobs}
        for _ in range(given.turns):
            for job, work in jobs.items():
                times[job].append(timed(work)[1])
        rows += [
            {
                "what": f"smollm2-135m, {ids.shape[1]} tokens",
                "with": job,
                "s": statistics.median(seconds[0] for seconds in times[job]),
                "CPU s": statistics.median(seconds[1] for seconds in times[job]),
                "answer reached": None,
            }
            for job in jobs
        ]
    return rows


def plain(network: layerwise.Network, ids: Any) -> Any:
    """The forward as a user of transformers runs it."""
    with torch.inference_mode():
        return network.module(input_ids=ids)


def main() -> None:
    """Measure and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--crops", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    facts = machine("horama")
    rows = [*visualisations(given), *traces(given)]
    Console().print(keep("visualize", facts, rows, vars(given)), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
