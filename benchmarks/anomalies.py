"""PatchCore of this library and of anomalib, on the same features of the same pictures.

    python benchmarks/anomalies.py [--engines NAME...] [--seeds 0 1 2] [--normal 32] [--asked 24]

Pictures are crops of three photographs of textures (brick, grass and gravel of scikit-image), 160
pixels a side: normal ones from the left half, those that are judged from the right half. Every
other one of these has one defect with an exact mask: a piece of another texture laid half over it,
a soft dark blob, or a bright thread. Both read EfficientNet-Lite0 at blocks.2.1 and blocks.4.2 with
the same weights, and keep a tenth of the places. A third row lets the layers be chosen, from normal
pictures alone (`layers="auto"`).

Every engine runs in a process of its own: areas under the curve of pictures and of pixels are means
over textures and seeds, in CPU seconds for all of them; peak memory is what it needs beyond the
imports and the opened network. Pixels are judged by maps at the pictures' size: the distances of
places, resized; and smoothed by a Gaussian of 4 pixels afterwards, as anomalib's own maps are.
anomalib is no dependency: `pip install anomalib` in an environment of its own; where it is missing
its row says so. Rows that are not measured again stay in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from _results import Row, keep, machine, resident
from rich.console import Console
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor, nn

import layerwise
from layerwise.search import PatchCore, find_anomalies, stacked

TEXTURES = ("brick", "grass", "gravel")
LAYERS = ("blocks.2.1", "blocks.4.2")
SIDE, CUT, BATCH, KEPT, SMOOTH = 160, 170, 8, 0.1, 4.0

_RESULTS = Path(__file__).parent / "results" / "anomalies.json"

Judged = tuple[Tensor, Tensor]
"""Scores of pictures, and of their pixels."""


def crops(texture: str, count: int, *, left: bool, generator: Generator) -> Tensor:
    """Crops of one half of a texture, from 0 to 1."""
    import numpy as np
    from PIL import Image

    picture = Image.open(str(resources.files("skimage.data") / f"{texture}.png")).convert("RGB")
    made = []
    for _ in range(count):
        across, down = torch.rand(2, generator=generator).tolist()
        x = across * (picture.width / 2 - CUT) + (0 if left else picture.width / 2)
        y = down * (picture.height - CUT)
        small = picture.resize((SIDE, SIDE), box=(x, y, x + CUT, y + CUT))
        made.append(torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1) / 255)
    return torch.stack(made)


def spoiled(image: Tensor, other: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """One defect in each picture, and where it is."""
    line = torch.arange(float(SIDE))
    y, x = line[:, None], line[None]
    made, masks = [], []
    for row, each in enumerate(image):
        cy, cx, one, two = torch.rand(4, generator=generator).tolist()
        cy, cx = (20 + (SIDE - 40) * place for place in (cy, cx))
        if row % 3 == 0:
            inside = ((x - cx) / (8 + 8 * one)).square() + ((y - cy) / (8 + 8 * two)).square() < 1
            weight, value = 0.5 * inside, other[row]
        elif row % 3 == 1:
            weight = 0.5 * (-((x - cx).square() + (y - cy).square()) / (8 + 6 * one) ** 2).exp()
            value = torch.tensor(0.05)
        else:
            bend = cy + 8 * (x / (10 + 10 * one) + 6 * two).sin()
            weight = 0.5 * (((y - bend).abs() < 1.5) & ((x - cx).abs() < 40))
            value = torch.tensor(0.95)
        made.append(each * (1 - weight) + value * weight)
        masks.append(weight > 0.2)
    return torch.stack(made), torch.stack(masks)


def pictures(seed: int, given: argparse.Namespace) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each texture normal pictures, those to be judged, and masks of the latter."""
    generator = Generator().manual_seed(seed)
    found = []
    for place, texture in enumerate(TEXTURES):
        normal = crops(texture, given.normal, left=True, generator=generator)
        asked = crops(texture, given.asked, left=False, generator=generator)
        strange = TEXTURES[(place + 1) % 3]
        other = crops(strange, given.asked // 2, left=False, generator=generator)
        odd, masks = spoiled(asked[::2], other, generator)
        good = asked[1::2]
        where = torch.cat([masks, torch.zeros(len(good), SIDE, SIDE, dtype=torch.bool)])
        found.append((2 * normal - 1, 2 * torch.cat([odd, good]) - 1, where))
    return found


def maps(network: layerwise.Network, image: Tensor) -> Tensor:
    """Both layers side by side."""
    parts = []
    for batch in image.split(BATCH):
        read = layerwise.read(network, batch, list(LAYERS))
        parts.append(stacked([read[layer] for layer in LAYERS]))
    return torch.cat(parts)


def ours(network: layerwise.Network) -> Callable[[Tensor], Callable[[Tensor], Judged]]:
    """`layerwise.search.PatchCore`."""

    def fit(normal: Tensor) -> Callable[[Tensor], Judged]:
        judge = PatchCore.fit(maps(network, normal), part=KEPT)

        def ask(image: Tensor) -> Judged:
            found = judge(maps(network, image))
            return found.scores, found.places

        return ask

    return fit


def chosen(network: layerwise.Network) -> Callable[[Tensor], Callable[[Tensor], Judged]]:
    """`find_anomalies`, which chooses the layers."""

    def fit(normal: Tensor) -> Callable[[Tensor], Judged]:
        def ask(image: Tensor) -> Judged:
            opened = layerwise.open(
                network.module, prepare=_as_it_is, modality="image", example=network.example
            )
            given, asked = (layerwise.data.open(_pictures(each)) for each in (normal, image))
            found = find_anomalies(opened, given, asked, layers="auto")
            order = torch.tensor(found.rows).argsort()
            return found.scores[order], found.places[order]

        return ask

    return fit


def _pictures(image: Tensor) -> list[Any]:
    from PIL import Image

    bytes_ = ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return [Image.fromarray(each.numpy()) for each in bytes_]


def _as_it_is(picture: Any) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 127.5 - 1


def anomalib(network: layerwise.Network) -> Callable[[Tensor], Callable[[Tensor], Judged]]:
    """anomalib's, with the starter's weights in its own extractor."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    stages = [layer.rpartition(".")[0] for layer in LAYERS]

    def fit(normal: Tensor) -> Callable[[Tensor], Judged]:
        torch.manual_seed(0)
        model = PatchcoreModel(layers=stages, backbone="tf_efficientnet_lite0", pre_trained=False)
        inner = model.feature_extractor.feature_extractor
        left = inner.load_state_dict(network.module.state_dict(), strict=False)
        assert not left.missing_keys, left.missing_keys
        mine = layerwise.read(network, normal[:1], list(LAYERS))
        theirs = model.feature_extractor(normal[:1])
        for layer, stage in zip(LAYERS, stages, strict=True):
            torch.testing.assert_close(theirs[stage], mine[layer], rtol=1e-3, atol=1e-3)
        model.train()
        for batch in normal.split(BATCH):
            model(batch)
        model.subsample_embedding(KEPT)
        model.eval()
        # Its own maps are resized and smoothed by the picture's size; places are wanted here.
        model.anomaly_map_generator = _Places()

        def ask(image: Tensor) -> Judged:
            with torch.no_grad():
                found = [model(batch) for batch in image.split(BATCH)]
            return (
                torch.cat([each.pred_score.flatten() for each in found]),
                torch.cat([each.anomaly_map for each in found])[:, 0],
            )

        return ask

    return fit


class _Places(nn.Module):
    def forward(self, places: Tensor, _size: Any = None) -> Tensor:
        return places


_CHOSEN = "layerwise, layers chosen"

ENGINES = {
    "layerwise": ours,
    "anomalib": anomalib,
    _CHOSEN: chosen,
}


def smoothed(pixels: Tensor) -> Tensor:
    """By a Gaussian, as anomalib smooths its maps."""
    from torchvision.transforms.functional import gaussian_blur

    wide = 2 * int(4 * SMOOTH + 0.5) + 1
    return gaussian_blur(pixels[:, None], [wide, wide], [SMOOTH, SMOOTH])[:, 0]


def area(truth: Tensor, scores: Tensor) -> float:
    """Under the curve."""
    return float(roc_auc_score(truth.flatten().numpy(), scores.flatten().double().numpy()))


def measure(name: str, given: argparse.Namespace) -> Row:
    """All textures and seeds by one engine, in this process."""
    torch.set_num_threads(1)
    network = layerwise.open("efficientnet-lite0")
    network.layers.select("blocks")
    cases = [case for seed in given.seeds for case in pictures(seed, given)]
    make = ENGINES[name](network)
    make(cases[0][0])(cases[0][1][:2])  # what is imported and traced is no part of it
    before, took, asking = resident("VmRSS", afresh=True), 0.0, 0.0
    whole, plain, soft = [], [], []
    for normal, image, masks in cases:
        start = time.process_time()
        judge = make(normal)
        fitted = time.process_time()
        scores, places = judge(image)
        took, asking = took + fitted - start, asking + time.process_time() - fitted
        pixels = nn.functional.interpolate(places[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
        whole.append(area(masks.flatten(1).any(1), scores))
        plain.append(area(masks, pixels))
        soft.append(area(masks, smoothed(pixels)))
    peak = resident("VmHWM") - before
    return {
        "AUROC, pictures": sum(whole) / len(whole),
        "AUROC, pixels": sum(plain) / len(plain),
        "AUROC, pixels, smoothed": sum(soft) / len(soft),
        "lowest AUROC, pictures": min(whole),
        "fit CPU s": None if name == _CHOSEN else took,
        "fit and judge CPU s": took + asking,
        "peak MB": peak,
    }


def main() -> None:
    """Measure every engine in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--normal", type=int, default=32, help="normal pictures of a texture")
    parser.add_argument("--asked", type=int, default=24, help="pictures of a texture to judge")
    parser.add_argument("--one", help="one engine, in this process")
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measure(given.one, given)))
        return
    facts = machine("anomalib")
    earlier = json.loads(_RESULTS.read_text())["rows"] if _RESULTS.exists() else []
    rows: dict[str, Row] = {str(row["engine"]): row for row in earlier}
    for name in given.engines:
        words = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [str(done.returncode)]
            rows.setdefault(name, {"engine": name, "AUROC, pictures": f"left out: {said[-1]}"})
            continue
        rows[name] = {"engine": name, **json.loads(done.stdout.splitlines()[-1])}
    details = {**vars(given), "layers": LAYERS, "threads": os.environ.get("OMP_NUM_THREADS")}
    Console(width=200).print(keep("anomalies", facts, list(rows.values()), details))


if __name__ == "__main__":
    main()
