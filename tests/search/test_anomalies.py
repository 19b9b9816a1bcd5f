"""Anomalies: by hand, at the edges, and on textures with defects that nobody has trained on."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.search import (
    ContrastiveSelectedEmbedding,
    PatchCore,
    ValueAttentionAnomaly,
    coreset,
    stacked,
    synthetic_defects,
    value_attention,
    value_tokens,
)

TEXTURES = ("brick", "grass", "gravel")
SIDE = 112


def test_the_coreset_is_the_greedy_one() -> None:
    rows = torch.randn(60, 5).double()
    chosen = [int((rows - rows.mean(0)).norm(dim=1).argmax())]
    for _ in range(11):
        far = torch.cdist(rows, rows[chosen]).amin(1)
        chosen.append(int(far.argmax()))
    assert coreset(rows, 12).tolist() == chosen
    assert coreset(rows, 60).sort().values.tolist() == list(range(60))
    with pytest.raises(LayerwiseError, match="count=61 of 60"):
        coreset(rows, 61)


def test_a_coreset_grows_without_changing_its_beginning() -> None:
    rows = torch.randn(300, 400)
    covered = [
        torch.cdist(rows, rows[c]).amin(1).max()
        for c in (coreset(rows, 30), coreset(rows, 300)[:30])
    ]
    assert covered[0] == covered[1]


def test_the_border_of_a_normal_picture_is_no_stranger_than_its_middle() -> None:
    maps = torch.randn(24, 16, 8, 8).double()
    places = PatchCore.fit(maps[:16], part=1.0)(maps[16:]).places
    border = torch.ones(8, 8, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert places[:, border].mean() < places[:, ~border].mean()


def test_patch_core_scores_as_written() -> None:
    normal, asked = torch.rand(5, 3, 4, 4).double(), torch.rand(2, 3, 4, 4).double()

    def places(maps: Tensor) -> Tensor:
        mixed = nn.AvgPool2d(3, 1, 1)(maps)
        return mixed.flatten(2).transpose(1, 2)

    found = PatchCore.fit(normal, part=1.0, near=3)(asked)
    memory = places(normal).flatten(0, 1)
    for row, picture in enumerate(places(asked)):
        far = torch.cdist(picture, memory)
        torch.testing.assert_close(found.places[row].flatten(), far.amin(1))
        worst = int(far.amin(1).argmax())
        nearest = memory[far[worst].argmin()]
        around = torch.cdist(nearest[None], memory)[0].topk(3, largest=False).indices
        reach = torch.cdist(picture[worst : worst + 1], memory[around])[0]
        score = far[worst].min()
        expected = (1 - score.exp() / reach.exp().sum()) * score
        torch.testing.assert_close(found.scores[row], expected)


def test_maps_are_joined_on_the_finest_grid() -> None:
    joined = stacked([torch.rand(2, 3, 3, 3), torch.rand(2, 4, 6, 6)])
    assert joined.shape == (2, 7, 6, 6)
    with pytest.raises(LayerwiseError, match="no maps"):
        stacked([])
    with pytest.raises(LayerwiseError, match="maps of 5 channels, but 3 were learned"):
        PatchCore.fit(torch.rand(2, 3, 4, 4))(torch.rand(1, 5, 4, 4))


def test_defects_are_where_the_masks_say() -> None:
    image = torch.rand(30, 3, 32, 24)
    defective, masks = synthetic_defects(image)
    changed = (defective != image).any(1)
    assert torch.equal(changed, masks)
    share = masks.flatten(1).float().mean(1)
    assert share.min() > 0
    assert share.max() < 0.25
    again, _ = synthetic_defects(image)
    assert torch.equal(again, defective)
    with pytest.raises(LayerwiseError, match="at least 4 by 4"):
        synthetic_defects(image[..., :3])


def test_prototypes_are_scored_by_a_softmax_over_cosines() -> None:
    features, labels = torch.randn(20, 6).double(), torch.arange(20) % 2
    tokens = torch.randn(3, 5, 6).double()
    states = torch.stack(
        [nn.functional.normalize(features[labels == s], dim=1).mean(0) for s in (0, 1)]
    )
    cosines = nn.functional.cosine_similarity(tokens[:, :, None], states, dim=3)
    expected = (cosines / 0.01).softmax(2)[..., 1]
    anomaly = ValueAttentionAnomaly.fit(features, labels)
    torch.testing.assert_close(anomaly(tokens), expected)
    torch.testing.assert_close(
        anomaly.adapt(tokens, steps=0), ValueAttentionAnomaly.fit(features, labels)(tokens)
    )
    assert anomaly.adapt(tokens).shape == (3, 5)
    with pytest.raises(LayerwiseError, match="give normal rows as 0"):
        ValueAttentionAnomaly.fit(features, labels * 0)


def test_a_network_without_attention_is_refused() -> None:
    network = layerwise.open(nn.Sequential(nn.Conv2d(3, 4, 3)), example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(LayerwiseError, match="no attention whose values"):
        value_tokens(network, torch.zeros(1, 3, 8, 8))


def _crops(texture: str, count: int, seed: int) -> Tensor:
    """Crops of a texture `[count 3 112 112]`, from 0 to 1."""
    file = str(resources.files("skimage.data") / f"{texture}.png")
    picture = Image.open(file).convert("RGB")
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        x, y = rng.integers(0, picture.width - 200), rng.integers(0, picture.height - 200)
        crop = picture.resize((SIDE, SIDE), box=(int(x), int(y), int(x) + 200, int(y) + 200))
        made.append(torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1) / 255)
    return torch.stack(made)


def _dark_and_thread(image: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Defects that `synthetic_defects` does not make: a dark soft blob, a bright thread."""
    rng = np.random.default_rng(seed)
    grid = torch.arange(SIDE)
    y, x = grid[:, None], grid[None]
    made, masks = [], []
    for row, each in enumerate(image):
        cy, cx = rng.integers(30, SIDE - 30, 2)
        if row % 2:
            far = ((y - int(cy)) ** 2 + (x - int(cx)) ** 2) / 14.0**2
            weight, value = 0.7 * (-far).exp(), 0.05
        else:
            bend = int(cy) + 12 * torch.sin(grid / 15 + float(rng.random()))[None]
            weight, value = 0.7 * ((y - bend).abs() < 2).float(), 0.95
        made.append(each * (1 - weight) + value * weight)
        masks.append(weight > 0.35)
    return torch.stack(made), torch.stack(masks)


def _pasted(image: Tensor, other: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A square of another texture in each picture, on the patches' grid."""
    rng = np.random.default_rng(seed)
    masks = torch.zeros(len(image), SIDE, SIDE, dtype=torch.bool)
    for row in range(len(image)):
        y, x = (14 * int(place) for place in rng.integers(0, 6, 2))
        masks[row, y : y + 28, x : x + 28] = True
    return torch.where(masks[:, None], other[: len(image)], image), masks


def _on_grid(masks: Tensor, side: int) -> Tensor:
    return nn.functional.adaptive_max_pool2d(masks[:, None].float(), side)[:, 0] > 0


def _area(truth: Tensor, scores: Tensor) -> float:
    return float(roc_auc_score(truth.flatten().int(), scores.flatten().double()))


@pytest.mark.weights
@pytest.mark.slow
def test_learned_embeddings_and_memories_find_defects_of_unseen_kinds(
    claim: Callable[..., None],
) -> None:
    network = layerwise.open("efficientnet-lite0")

    def maps(image: Tensor) -> Tensor:
        read = layerwise.read(network, 2 * image - 1, ["blocks.2.1", "blocks.4.2"])
        return stacked([read["blocks.2.1"], read["blocks.4.2"]])

    runs = []
    for seed, texture in enumerate(TEXTURES):
        train, test = _crops(texture, 6, seed), _crops(texture, 8, seed + 50)
        odd, masks = _dark_and_thread(test[:4], seed)
        normal, asked = maps(train), maps(torch.cat([odd, test[4:]]))
        made, where = synthetic_defects(train, generator=torch.Generator().manual_seed(seed))
        side = normal.shape[2]
        embedded = ContrastiveSelectedEmbedding.fit(
            normal, defective=maps(made), masks=_on_grid(where, side), steps=80, batch=512
        )
        truth = torch.cat([_on_grid(masks, side), torch.zeros(4, side, side, dtype=torch.bool)])
        mean, scale = normal.mean((0, 2, 3)), normal.std((0, 2, 3))
        plain = ((asked - mean[:, None, None]) / scale[:, None, None]).square().sum(1).sqrt()
        judged = {"CSE": embedded(asked), "PatchCore": PatchCore.fit(normal, part=0.05)(asked)}
        found = {
            "nearest mean, pictures": _area(truth.flatten(1).any(1), plain.flatten(1).amax(1)),
            "nearest mean, places": _area(truth, plain),
        }
        for name, each in judged.items():
            found[f"{name}, pictures"] = _area(truth.flatten(1).any(1), each.scores)
            found[f"{name}, places"] = _area(truth, each.places)
        runs.append(found)
    means = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
    pictures = means["CSE, pictures"] > means["nearest mean, pictures"]
    claim(
        paper="P122",
        says="brick, grass and gravel, faint blobs and threads not trained on: area under the "
        "curve of pictures above that of the distance to the mean",
        measured=means,
        holds=pictures,
    )
    claim(
        paper="P122",
        says="brick, grass and gravel, faint blobs and threads not trained on: area under the "
        "curve of places above 0.85",
        measured=means,
        holds=means["CSE, places"] > 0.85,
    )
    assert means["CSE, places"] > 0.8  # the claim's 0.85 is met by a hair: 0.853


@pytest.mark.weights
@pytest.mark.slow
def test_values_attend_nearby_and_their_tokens_show_defects(claim: Callable[..., None]) -> None:
    network = layerwise.open("dinov2-small")
    mean = torch.tensor(network.prepare.mean).view(3, 1, 1)
    std = torch.tensor(network.prepare.std).view(3, 1, 1)
    attention = "encoder.layer.11.attention"
    runs = []
    for seed, texture in enumerate(TEXTURES):
        train, test = _crops(texture, 4, seed), _crops(texture, 4, seed + 50)
        others = [TEXTURES[(seed + step) % 3] for step in (1, 2)]
        corrupted, where = _pasted(train, _crops(others[0], 4, seed), seed)
        odd, masks = _pasted(test, _crops(others[1], 4, seed), seed + 9)
        pixels = [(x - mean) / std for x in (train, corrupted, odd)]
        clean, spoiled, asked = (value_tokens(network, each) for each in pixels)
        at = _on_grid(where, 8).flatten(1)
        features = torch.cat([clean.flatten(0, 1), spoiled[at]])
        labels = torch.cat([torch.zeros(clean.shape[0] * 64), torch.ones(int(at.sum()))]).long()
        anomaly = ValueAttentionAnomaly.fit(features, labels)
        names = [f"{attention}.{part}_proj" for part in "qkv"]
        read = layerwise.read(network, pixels[0], names)
        q, k, v = (read[name][:, 1:] for name in names)
        split = [each.unflatten(2, (6, -1)).transpose(1, 2) for each in (q, k)]
        usual = (split[0] @ split[1].transpose(2, 3) / 8).softmax(3)
        near = _near(8)
        truth = _on_grid(masks, 8).flatten(1)
        runs.append(
            {
                "mass nearby, values": (value_attention(v, heads=6) * near).sum(3).mean().item(),
                "mass nearby, usual": (usual * near).sum(3).mean().item(),
                "area under the curve": _area(truth, anomaly(asked)),
                "area, adapted": _area(truth, anomaly.adapt(asked)),
            }
        )
    means = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
    nearby = all(run["mass nearby, values"] > run["mass nearby, usual"] for run in runs)
    claim(
        paper="P037",
        says="DINOv2-S, 3 textures: in the last block more attention falls on a place's own "
        "3 x 3 neighbourhood by values than by queries and keys",
        measured=means,
        holds=nearby,
    )
    claim(
        paper="P037",
        says="DINOv2-S, 3 textures with pieces of another pasted in, prototypes of clean patches "
        "and of patches with a third one: area under the curve of places above 0.8",
        measured=means,
        holds=means["area under the curve"] > 0.8,
    )
    assert means["area under the curve"] > 0.75  # the claim's 0.8 is met by a hair: 0.807


def _near(side: int) -> Tensor:
    """Which places lie in the 3 x 3 neighbourhood of each."""
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    return ((places[:, None] - places[None]).abs().amax(2) <= 1).float()
