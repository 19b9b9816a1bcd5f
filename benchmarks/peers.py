"""The same layers of the same pictures through other packages: numbers, time and memory.

    python benchmarks/peers.py [--network efficientnet-lite0] [--batch 8] [--turns 7]

Every package runs in a process of its own and gives the mean over the places of each layer. It is
timed in pairs with the bare forward, in alternating order. The difference is to plain forward hooks
that pool at once. Peak memory is what the first call needs beyond a loaded network. Packages that
are not installed are left out by name (`pip install torchextractor torchlens nnsight`; thingsvision
pins a torch of 2023 and does not install beside a current one). On a busy machine take
OMP_NUM_THREADS=1 and trust the CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from _results import Row, keep, machine, resident
from rich.console import Console

if TYPE_CHECKING:
    from torch import Tensor

    from layerwise.models import Layer, Network

Run = Callable[[], dict[str, "Tensor"]]
"""Gives the pooled layers by name."""


def plain_hooks(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Pool inside forward hooks."""
    pooled: dict[str, Tensor] = {}

    def listen(layer: Layer) -> None:
        def hook(_module: object, _inputs: object, output: Any) -> None:
            pooled[layer.name] = _mean(layer, output)

        network.module.get_submodule(layer.name).register_forward_hook(hook)

    for layer in layers:
        listen(layer)

    def run() -> dict[str, Tensor]:
        network(inputs)
        return pooled

    return run


def layerwise(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Pool with this library."""
    from layerwise.features import Mean
    from layerwise.taps import pool

    names = [layer.name for layer in layers]
    return lambda: {n: v for (n, _), v in pool(network, inputs, names, [Mean()]).items()}


def torchextractor(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Tap with its extractor, pool after."""
    import torchextractor

    extractor = torchextractor.Extractor(network.module, [layer.name for layer in layers])
    return lambda: _pooled(layers, extractor(inputs)[1])


def torchvision_graph(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Cut the graph, pool after."""
    from torchvision.models.feature_extraction import create_feature_extractor

    graph = create_feature_extractor(network.module, {la.name: la.name for la in layers})
    return lambda: _pooled(layers, graph(inputs))


def timm_features_only(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Build the network anew for the ends of its stages; it gives no other layers."""
    import timm

    weights = network.module.state_dict()
    cut = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    cut.load_state_dict(weights, strict=False)
    ends = _ends_of_stages(layers)
    return lambda: _pooled(ends, dict(zip([la.name for la in ends], cut(inputs), strict=True)))


def timm_intermediates(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Ask the network for the ends of its stages; it gives no other layers."""
    ends = _ends_of_stages(layers)

    def run() -> dict[str, Tensor]:
        maps = network.module.forward_intermediates(
            inputs, intermediates_only=True, stop_early=True
        )
        return _pooled(ends, dict(zip([la.name for la in ends], maps, strict=True)))

    return run


def nnsight(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Cache the layers in a trace, pool after."""
    from nnsight import NNsight

    wrapped = NNsight(network.module)
    modules = [network.module.get_submodule(layer.name) for layer in layers]
    envoys = [_envoy(wrapped, layer.name) for layer in layers]
    assert [envoy._module for envoy in envoys] == modules

    def run() -> dict[str, Tensor]:
        with wrapped.trace(inputs) as tracer:
            cache = tracer.cache(modules=envoys)
        return _pooled(layers, {la.name: cache[f"model.{la.name}"].output for la in layers})

    return run


def torchlens_extract(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Look the layers up in a capture, pool after."""
    import torchlens

    names = {layer.name: layer.name for layer in layers}
    return lambda: _pooled(layers, torchlens.extract(network.module, inputs, names))


def thingsvision(network: Network, layers: Sequence[Layer], inputs: Tensor) -> Run:
    """Extract a batch, pool after."""
    from thingsvision.core.extraction import PyTorchExtractor

    extractor = PyTorchExtractor(
        model_name="given", pretrained=False, model_path=None, model_parameters={}, device="cpu"
    )
    extractor.model = network.module
    names = [layer.name for layer in layers]
    return lambda: _pooled(layers, extractor.extract_batch(inputs, names, flatten_acts=False))


CONTENDERS = {
    "plain hooks, pooled inside": plain_hooks,
    "layerwise": layerwise,
    "torchextractor": torchextractor,
    "torchvision create_feature_extractor": torchvision_graph,
    "timm features_only, ends of stages": timm_features_only,
    "timm forward_intermediates, ends of stages": timm_intermediates,
    "nnsight, cache": nnsight,
    "TorchLens extract": torchlens_extract,
    "thingsvision": thingsvision,
}


def _mean(layer: Layer, output: Any) -> Tensor:
    layout = layer.sure
    return layout.tokens(layout.standard(output))[:, layout.prefix :].mean(1)


def _pooled(layers: Sequence[Layer], outputs: dict[str, Any]) -> dict[str, Tensor]:
    return {layer.name: _mean(layer, outputs[layer.name]) for layer in layers}


def _ends_of_stages(layers: Sequence[Layer]) -> list[Layer]:
    """The last block before each halving of the map, and the last of all."""
    blocks = [layer for layer in layers if layer.kind == "block"]
    after = [layer.shape[-1] for layer in blocks[1:]] + [0]
    return [layer for layer, side in zip(blocks, after, strict=True) if side < layer.shape[-1]]


def _envoy(wrapped: Any, name: str) -> Any:
    for step in name.split("."):
        wrapped = wrapped[int(step)] if step.isdecimal() else getattr(wrapped, step)
    return wrapped


def measure(contender: Callable[..., Run], name: str, batch: int, turns: int) -> dict[str, Any]:
    """Time one package in this process."""
    import torch

    import layerwise

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    network = layerwise.open(name)
    samples = layerwise.data.open("photos", limit=batch)
    inputs = network.batch([network.prepare(samples.load(index)) for index in range(batch)])
    layers = network.layers.select("blocks")
    other = layerwise.open(name)  # packages that change the network do not touch the bare one
    assert len(other.layers) == len(network.layers)  # traced before memory is measured
    with torch.no_grad():
        run = contender(other, layers, inputs)
        start = resident("VmRSS", afresh=True)
        found = {name: value.clone() for name, value in run().items()}
        peak = resident("VmHWM") - start
        start = resident("VmRSS", afresh=True)
        network(inputs)
        bare = resident("VmHWM") - start
        ratios = []
        for turn in range(turns):
            pair = (run, lambda: network(inputs)) if turn % 2 else (lambda: network(inputs), run)
            seconds = [_timed(work) for work in pair]
            ours, forward = seconds if turn % 2 else seconds[::-1]
            ratios.append((ours[0] / forward[0], ours[1] / forward[1]))
        expected = plain_hooks(layerwise.open(name), layers, inputs)()
    errors = [(found[n] - expected[n]).abs().max() / expected[n].abs().max() for n in found]
    return {
        "layers": len(found),
        "difference": float(max(errors)),
        "ratios": ratios,
        "peak": peak,
        "bare": bare,
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Run every package and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        found = measure(CONTENDERS[given.only], given.network, given.batch, given.turns)
        sys.stdout.write("\n" + json.dumps(found))
        return
    facts = machine("torchextractor", "torchvision", "nnsight", "torchlens", "thingsvision")
    results: dict[str, Any] = {}
    same = ["--network", given.network, "--batch", str(given.batch), "--turns", str(given.turns)]
    for title in CONTENDERS:
        command = [sys.executable, __file__, *same, "--only", title]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = done.stderr.strip().splitlines()
        results[title] = (
            {"left out": told[-1] if told else f"exit {done.returncode}"}
            if done.returncode
            else json.loads(done.stdout.splitlines()[-1])
        )
    rows = [_row(title, found) for title, found in results.items()]
    details = {"network": given.network, "batch": given.batch, "runs": results}
    Console().print(keep("peers", facts, rows, details), soft_wrap=True, markup=False)


def _row(title: str, found: dict[str, Any]) -> Row:
    if "left out" in found:
        return {"": title, "layers": "left out: " + found["left out"][:60]}
    clock, cpu = (statistics.median(pair[i] for pair in found["ratios"]) for i in (0, 1))
    return {
        "": title,
        "layers": str(found["layers"]),
        "largest relative difference": f"{found['difference']:.0e}",
        "time / bare": clock,
        "CPU / bare": cpu,
        "peak MB": found["peak"],
        "bare peak MB": found["bare"],
    }


if __name__ == "__main__":
    main()
