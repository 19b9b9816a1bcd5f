"""Zooms: against crops by hand, and on photographs that stand small and aside."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.search import zoom, zoom_predict, zoom_study


def test_a_zoom_is_the_crop_around_its_anchor() -> None:
    image = torch.rand(2, 3, 36, 36)
    close = zoom(image, scale=3.0, anchor=5)
    expected = nn.functional.interpolate(
        image[:, :, 12:24, 24:36], (36, 36), mode="bilinear", align_corners=False
    )
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(close[inner], expected[inner], atol=1e-5, rtol=1e-4)
    far = zoom(image, scale=0.5)
    small = nn.functional.interpolate(image, (18, 18), mode="bilinear", antialias=True)
    torch.testing.assert_close(far[:, :, 9:27, 9:27], small, atol=1e-5, rtol=1e-4)
    assert float(far[:, :, :8].abs().max()) == 0
    for wrong in ({"scale": 0.0}, {"anchor": 9}):
        with pytest.raises(LayerwiseError, match="positive scale and 0 to 8"):
            zoom(image, **wrong)


def _bright() -> Network:
    """Says 1 where the middle of a picture is bright, else 0."""

    class Middle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            value = self.scale * x[:, :, 12:18, 12:18].mean((1, 2, 3))
            return torch.stack([0.5 - value, value - 0.5], 1)

    return layerwise.open(Middle().eval(), example=torch.zeros(1, 3, 30, 30), name="middle")


def test_the_map_of_anchors_shows_where_things_are() -> None:
    image = torch.zeros(4, 3, 30, 30)
    image[:, :, 20:, :10] = 1.0
    study = zoom_study(_bright(), image, torch.ones(4).long(), scales=(1.0, 2.0, 3.0))
    assert study.bound == 1.0
    assert study.anchors.argmax() == 6
    assert study.hard.tolist() == []
    nothing = zoom_study(_bright(), 0 * image, torch.ones(4).long(), scales=(1.0,))
    assert (nothing.bound, nothing.hard.tolist()) == (0.0, [0, 1, 2, 3])
    with pytest.raises(LayerwiseError, match="0 pictures and 0 labels"):
        zoom_study(_bright(), image[:0], torch.ones(0).long())


def test_predictions_are_means_of_looks() -> None:
    image = torch.rand(3, 3, 30, 30)
    network = _bright()
    alone = network(image).softmax(1)
    torch.testing.assert_close(zoom_predict(network, image, zooms=1), alone)
    all_looks = zoom_predict(network, image, zooms=5)
    torch.testing.assert_close(all_looks, zoom_predict(network, image, zooms=5, surest=5))
    with pytest.raises(LayerwiseError, match="surest=6"):
        zoom_predict(network, image, zooms=5, surest=6)
    features = layerwise.open(nn.Sequential(nn.Conv2d(3, 2, 3)), example=torch.zeros(1, 3, 30, 30))
    with pytest.raises(LayerwiseError, match="give a classifier"):
        zoom_predict(features, image)


@pytest.mark.weights
@pytest.mark.slow
def test_some_zoom_is_right_where_the_whole_is_not(claim: Callable[..., None]) -> None:
    network = layerwise.open("efficientnet-lite0")
    # ImageNet's own numbers: tabby, tiger cat, Egyptian cat; espresso; missile, projectile.
    kinds = {"chelsea.png": 281, "coffee.png": 967, "rocket.jpg": 657}
    allowed = {281: (281, 282, 285), 967: (967, 504), 657: (657, 744, 4)}
    runs = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        canvases, labels, corner = [], [], int(rng.integers(4))
        for name, label in kinds.items():
            picture = Image.open(str(resources.files("skimage.data") / name)).convert("RGB")
            side = int(rng.integers(80, 120))
            small = picture.resize((side, side))
            canvas = Image.new("RGB", (224, 224), (128, 128, 128))
            canvas.paste(small, ((corner % 2) * (224 - side), (corner // 2) * (224 - side)))
            pixels = torch.from_numpy(np.asarray(canvas).copy()).permute(2, 0, 1) / 127.5 - 1
            canvases.append(pixels)
            labels.append(label)
        image = torch.stack(canvases)

        def right(scores: Tensor, truth: list[int] = labels) -> float:
            picked = zip(scores.argmax(1).tolist(), truth, strict=True)
            return float(np.mean([each in allowed[label] for each, label in picked]))

        scales = (1.0, 1.5, 2.0, 2.5, 3.0)
        looks = {
            (scale, anchor): right(network(zoom(image, scale=scale, anchor=anchor)).detach())
            for scale in scales
            for anchor in (0, 2, 4, 6, 8)
        }
        nearest = (0, 2, 6, 8)[corner]
        runs.append(
            {
                "centre": looks[1.0, 4],
                "best zoom": max(looks.values()),
                "averaged": right(zoom_predict(network, image, zooms=16)),
                "at the pasted corner": float(np.mean([looks[s, nearest] for s in scales])),
                "at the others": float(
                    np.mean([looks[s, a] for s in scales for a in (0, 2, 6, 8) if a != nearest])
                ),
            }
        )
    means = {name: sum(run[name] for run in runs) / 3 for name in runs[0]}
    bias = means["at the pasted corner"] > means["at the others"]
    claim(
        paper="P195",
        says="photographs pasted small into a corner: one zoom for all is right at least as often "
        "as the whole picture, and most often at that corner",
        measured=means,
        holds=bias and means["best zoom"] >= means["centre"],
    )
    claim(
        paper="P195",
        says="photographs pasted small into a corner: the mean over closer looks is right more "
        "often than the whole picture",
        measured=means,
        holds=means["averaged"] > means["centre"],
    )
    assert means["best zoom"] >= means["centre"]
