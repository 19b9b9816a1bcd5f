"""Every block x {Grad-CAM, gradient x activation, integrated gradients}: time, memory, agreement.

    python benchmarks/explain.py [--images 64] [--side 224] [--steps 50] [--integrated 64]
        [--only "integrated gradients"]

One call of layerwise against a loop over the layers with captum, and for Grad-CAM with
pytorch-grad-cam where it is installed (`pip install grad-cam`). Every contender runs in a process
of its own; peak memory is what it needs beyond the network and the images. Integrated gradients
have a way of their own for every layer, so no pass is shared there: what is saved is what lies
before the layer. `--integrated` takes fewer images for them. With `--only` the rows of the other
explanations stay as the last run kept them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from _results import keep, kept, machine, resident
from rich.console import Console
from torch import Tensor

import layerwise
from layerwise.explain import grad_cam, gradient_x_activation, integrated_gradients
from layerwise.models import Network

Answer = Mapping[str, Tensor]

KINDS = ("Grad-CAM", "gradient x activation", "integrated gradients")


def given(arguments: argparse.Namespace) -> tuple[Network, Tensor, Tensor]:
    """The network, pictures of structured noise, and what it takes them for."""
    network = layerwise.open("random:timm:resnet18" if arguments.random else "efficientnet-lite0")
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(arguments.images, 3, 16, 16, generator=generator)
    size = (arguments.side, arguments.side)
    images = 2 * torch.nn.functional.interpolate(rough, size, mode="bicubic").clamp(0, 1) - 1
    with torch.no_grad():
        labels = torch.cat([network(part).argmax(1) for part in images.split(16)])
    return network, images, labels


def _captum(
    kind: str, network: Network, x: Tensor, y: Tensor, *, names: list[str], steps: int
) -> Answer:
    from captum import attr

    made = {}
    for name in names:
        module = network.module.get_submodule(name)
        if kind == "integrated gradients":
            explainer = attr.LayerIntegratedGradients(network.module, module)
            found = explainer.attribute(x, target=y, n_steps=steps, internal_batch_size=32)
        elif kind == "Grad-CAM":
            found = attr.LayerGradCam(network.module, module).attribute(x, target=y)
        else:
            found = attr.LayerGradientXActivation(network.module, module).attribute(x, target=y)
        made[name] = found.detach().float()
    return made


def _grad_cam_package(network: Network, x: Tensor, y: Tensor, names: list[str]) -> Answer:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    made = {}
    for name in names:
        with GradCAM(network.module, [network.module.get_submodule(name)]) as cam:
            maps = cam(x, [ClassifierOutputTarget(int(label)) for label in y])
            made[name] = torch.from_numpy(maps)  # rectified, scaled and resized: not compared
    return made


def _layerwise(
    kind: str, network: Network, x: Tensor, y: Tensor, *, names: list[str], steps: int
) -> Answer:
    if kind == "integrated gradients":
        return integrated_gradients(network, x, y, layers=names, steps=steps).parts
    return (grad_cam if kind == "Grad-CAM" else gradient_x_activation)(network, x, y, layers=names)


def contender(who: str, kind: str, arguments: argparse.Namespace) -> None:
    """Run one contender once, and print what it took and a digest of its answer."""
    network, images, labels = given(arguments)
    names = [layer.name for layer in network.layers.select("blocks")]
    steps = arguments.steps
    calls: dict[str, Callable[[], Answer]] = {
        "layerwise": lambda: _layerwise(kind, network, images, labels, names=names, steps=steps),
        "captum": lambda: _captum(kind, network, images, labels, names=names, steps=steps),
        "pytorch-grad-cam": lambda: _grad_cam_package(network, images, labels, names),
    }
    images.requires_grad_(who == "captum")
    before = resident("VmHWM", afresh=True)
    start, cpu = time.perf_counter(), time.process_time()
    answer = calls[who]()
    took = time.perf_counter() - start, time.process_time() - cpu
    peak = resident("VmHWM") - before
    if who != "pytorch-grad-cam":
        torch.save({n: v.detach() for n, v in answer.items()}, arguments.out)
    Console().print_json(
        json.dumps({"seconds": took[0], "cpu": took[1], "peak": peak, "layers": len(names)})
    )


def main() -> None:
    """Measure all contenders, and keep the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--integrated", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--out", default="")
    parser.add_argument("--contender", nargs=2, default=None)
    arguments = parser.parse_args()
    if arguments.contender:
        contender(*arguments.contender, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(arguments, folder)


def _measure(arguments: argparse.Namespace, folder: str) -> None:
    facts = machine("captum", "grad-cam")
    kinds = [arguments.only] if arguments.only else list(KINDS)
    details: dict[str, Any] = {"side": arguments.side, "steps": arguments.steps}
    rows: list[dict[str, Any]] = []
    if arguments.only:
        last = kept("explain")
        rows = [row for row in last["rows"] if not row["explanation"].startswith(arguments.only)]
        details["machine of the other rows"] = last["machine"]
    for kind in kinds:
        images = arguments.images
        if kind == "integrated gradients":
            images = arguments.integrated or images
        held = {}
        for who in ("layerwise", "captum", *(["pytorch-grad-cam"] if kind == "Grad-CAM" else [])):
            out = Path(folder) / f"{who}.pt"
            words = ["--contender", who, kind, "--images", str(images), "--out", str(out)]
            words += ["--side", str(arguments.side), "--steps", str(arguments.steps)]
            words += ["--random"] * arguments.random
            run = subprocess.run(
                [sys.executable, __file__, *words], capture_output=True, text=True, check=False
            )
            if run.returncode:
                Console(stderr=True).print(f"{who} cannot: {run.stderr.strip().splitlines()[-1]}")
                continue
            told = json.loads(run.stdout)
            held[who] = out
            rows.append(
                {
                    "explanation": f"{kind}, {images} images, {told['layers']} layers",
                    "with": who,
                    "seconds": told["seconds"],
                    "CPU seconds": told["cpu"],
                    "peak MB": told["peak"],
                    "largest difference": _difference(held) if who == "captum" else None,
                }
            )
            Console().print(rows[-1])
        keep("explain", facts, rows, details)


def _difference(held: Mapping[str, Path]) -> str | None:
    """Largest difference from captum, relative to each layer's largest value."""
    if "layerwise" not in held:
        return None
    ours, theirs = torch.load(held["layerwise"]), torch.load(held["captum"])
    gaps = [
        float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs
    ]
    return f"{max(gaps):.0e}"


if __name__ == "__main__":
    main()
