"""From samples to an index: chosen on some samples, scored on others, and added to ever after."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import layerwise
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.search import Card, Descriptor, Index, Trial, choose, describe, index_samples


@pytest.fixture
def network() -> Network:
    """Two layers: the first keeps what the samples differ in, the last throws most of it away."""
    torch.manual_seed(0)
    first, last = nn.Linear(8, 8), nn.Linear(8, 8)
    with torch.no_grad():
        first.weight.copy_(torch.eye(8))
        last.weight.copy_(torch.diag(torch.tensor([0.0, 0, 0, 0, 9, 9, 9, 9])))
        first.bias.zero_()
        last.bias.zero_()
    blocks = nn.Sequential(nn.Sequential(first), nn.Sequential(last), nn.Sequential(nn.Identity()))
    return layerwise.open(blocks, example=torch.zeros(1, 8), name="tiny")


def _samples(count: int = 240, seed: int = 0) -> Samples:
    """Ten clouds in the first four directions, noise in the others."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 4, generator=torch.Generator().manual_seed(7))
    kind = torch.arange(count) % 10
    near = 3 * centres[kind] + 0.5 * torch.randn(count, 4, generator=generator)
    rows = torch.cat([near, torch.randn(count, 4, generator=generator)], 1)
    return layerwise.data.open(
        [(row, {"kind": f"c{k}"}) for row, k in zip(rows, kind, strict=True)]
    )


def test_joined_cosines_are_means_of_the_cosines_in_each_layer() -> None:
    layers = {"a": torch.randn(9, 4), "b": 100 * torch.randn(9, 7)}
    joined = Descriptor(["b", "a"])(layers)
    cosines = [nn.functional.normalize(x, dim=1) for x in layers.values()]
    expected = sum(x @ x.T for x in cosines) / 2
    torch.testing.assert_close(joined @ joined.T, expected)
    with pytest.raises(LayerwiseError, match="features of c are missing"):
        Descriptor(["a", "c"])(layers)
    with pytest.raises(LayerwiseError, match="no layers to join"):
        Descriptor([])


def test_auto_finds_the_layer_and_says_what_it_gains(network: Network, tmp_path: Path) -> None:
    done = index_samples(network, _samples(), tmp_path / "index", layers="auto")
    choice = done.card.choice
    assert choice is not None
    assert (done.added, done.known, len(done.index)) == (240, 0, 240)
    assert choice.names[0].startswith("0.0 ")
    assert choice.last.startswith("1 ")
    assert choice.precision > choice.precision_last + 0.2
    assert choice.low > 0
    assert choice.chosen_on + choice.scored_on <= 240
    assert "leave-one-out retrieval of 'kind'" in choice.words
    assert "The last layer, 1 (mean), gives" in choice.words
    kept = Card.read(tmp_path / "index")
    assert kept is not None
    assert (kept.choice, kept.reading.columns) == (choice, done.card.reading.columns)
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) in (
        ["index.json", "items.lance"],
        ["index.json", "items.lance", "whiten.safetensors"],
    )


def test_what_chose_does_not_score() -> None:
    """With labels of the scoring half turned upside down the choice stays, its score falls."""
    labels = torch.arange(60) % 3
    rows = {"good": torch.eye(3)[labels] + 0.1, "last": torch.randn(60, 3)}
    alone = ~torch.eye(60, dtype=torch.bool)
    alike, shuffled = labels == labels[:, None], labels.roll(7)[torch.randperm(60)]
    true, false = (
        Trial(rows, rows, relevant, alone) for relevant in (alike, shuffled == shuffled[:, None])
    )
    choice, _ = choose(true, true, last=["last"], by="x")
    other, _ = choose(true, false, last=["last"], by="x")
    assert choice.names[0] == other.names[0] == "good"
    assert choice.precision > 0.99 > other.precision
    nothing = Trial(rows, rows, alike & False, alone)
    with pytest.raises(LayerwiseError, match="no sample has another one"):
        choose(nothing, true, last=["last"], by="x")


def test_added_samples_are_computed_once_and_vanished_ones_leave_on_request(
    network: Network, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    samples = _samples(60)
    first = index_samples(network, samples.take(range(40)), out, layers="0")
    assert (first.added, first.card.choice, first.card.layers) == (40, None, ("0",))
    again = index_samples(network, samples, out)
    assert (again.added, again.known) == (20, 40)
    renamed = replace(samples, names=tuple(f"new {name}" for name in samples.names))
    assert index_samples(network, renamed, out).known == 60
    query = describe(network, samples.take([5]), again.card)
    hit = Index.open(out).search(query.vectors, count=1)[0][0]
    assert (hit.key, hit.name) == (samples.keys[5], f"new {samples.names[5]}")
    assert hit.targets["kind"] == "c5"
    fewer = index_samples(network, renamed.take(range(30)), out, sync=True)
    assert (fewer.removed, len(fewer.index)) == (30, 30)
    assert index_samples(network, renamed, out).added == 30


def test_another_network_or_other_layers_are_refused(network: Network, tmp_path: Path) -> None:
    out = tmp_path / "index"
    card = index_samples(network, _samples(20), out, layers="0").card
    other = layerwise.open(nn.Sequential(nn.Linear(8, 8)), example=torch.zeros(1, 8), name="other")
    for refused in (
        lambda: index_samples(other, _samples(20), out),
        lambda: describe(other, _samples(20), card),
    ):
        with pytest.raises(LayerwiseError, match="an index holds one network"):
            refused()
    with pytest.raises(LayerwiseError, match="is made of 0, not of '1'"):
        index_samples(network, _samples(20), out, layers="1")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("hello")
    with pytest.raises(LayerwiseError, match="not empty and holds no index"):
        index_samples(network, _samples(20), tmp_path / "full")


def test_what_was_interrupted_before_its_first_item_goes_on(
    network: Network, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    index_samples(network, _samples(20), out, layers="0")
    shutil.rmtree(out / "items.lance")
    with pytest.raises(LayerwiseError, match="there is no index at"):
        Index.open(out)
    assert index_samples(network, _samples(20), out).added == 20


def test_a_damaged_or_newer_card_is_one_line(network: Network, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index_samples(network, _samples(20), out, layers="0")
    values = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps(values | {"format": 99}))
    with pytest.raises(LayerwiseError, match="newer layerwise"):
        Card.read(out)
    (out / "index.json").write_text("{")
    with pytest.raises(LayerwiseError, match="is damaged"):
        Card.read(out)


def test_without_labels_auto_needs_pictures_or_texts(network: Network, tmp_path: Path) -> None:
    with pytest.raises(LayerwiseError, match="without labels nobody can say"):
        index_samples(network, replace(_samples(), targets={}), tmp_path / "index")
    with pytest.raises(LayerwiseError, match="no target is called 'sort'"):
        index_samples(network, _samples(), tmp_path / "index", target="sort")


def test_pictures_without_labels_find_their_changed_copies(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    network = layerwise.open(module, example=torch.zeros(1, 3, 32, 32), name="tiny")
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32))
        for _ in range(40)
    ]
    object.__setattr__(network, "modality", "image")
    object.__setattr__(network, "prepare", _Small())
    done = index_samples(network, layerwise.data.open(pictures), tmp_path / "index")
    assert done.card.choice is not None
    assert done.card.choice.by == "finding a picture by a crop of it in other light"
    assert done.card.choice.scored_on == 20
    assert done.card.choice.precision > 0.3


class _Small:
    def __call__(self, picture: Image.Image) -> torch.Tensor:
        small = np.array(picture.resize((32, 32)), dtype=np.float32)
        return torch.from_numpy(small).permute(2, 0, 1) / 255

    def __repr__(self) -> str:
        return "small"
