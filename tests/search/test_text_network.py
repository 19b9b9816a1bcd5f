"""Pictures found by texts, against the cosines that transformers' CLIP and SigLIP give for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from typer.testing import CliRunner

import layerwise
from layerwise.cli import app
from layerwise.errors import LayerwiseError
from layerwise.search import Card, describe, index_samples, text_network
from networks import tiny_clip, tiny_siglip

TEXTS = ["red apple", "green", "green apple red red apple"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(6):
        rough = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((32, 32)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def index(clip: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("index") / "made"
    network = layerwise.open(f"hf:{clip}#image")
    index_samples(network, layerwise.data.open(pictures), out, layers="joint")
    return out


@pytest.mark.parametrize("kind", ["CLIP", "SigLIP"])
def test_a_text_finds_pictures_by_the_cosines_of_the_network_itself(
    kind: str, pictures: Path, tmp_path: Path
) -> None:
    files = sorted(pictures.iterdir())
    place = {"CLIP": tiny_clip, "SigLIP": tiny_siglip}[kind](tmp_path / "both")
    model = AutoModel.from_pretrained(place)
    pixels = AutoImageProcessor.from_pretrained(place)(
        [Image.open(file) for file in files], return_tensors="pt"
    )
    tokenizer = AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        if kind == "CLIP":
            told = model(**pixels, **tokenizer(TEXTS, padding=True, return_tensors="pt"))
            cosines = told.logits_per_text / model.logit_scale.exp()
        else:
            filled = tokenizer(TEXTS, padding="max_length", max_length=8, return_tensors="pt")
            told = model(**pixels, input_ids=filled["input_ids"])
            cosines = (told.logits_per_text - model.logit_bias) / model.logit_scale.exp()
    assert cosines.std() > 0.05
    network = layerwise.open(f"hf:{place}#image")
    index_samples(network, layerwise.data.open(pictures), tmp_path / "made", layers="joint")
    done = CliRunner().invoke(app, ["search", str(tmp_path / "made"), *TEXTS, "--k", "6", "--json"])
    assert done.exit_code == 0, done.output
    answers = {each["query"]: each["hits"] for each in json.loads(done.stdout)}
    for text, expected in zip(TEXTS, cosines, strict=True):
        scores = {hit["name"]: hit["score"] for hit in answers[text]}
        found = torch.tensor([scores[file.name] for file in files])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_texts_and_pictures_are_asked_together_and_shown(
    pictures: Path, index: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = [str(index), "green apple", str(pictures / "2.png"), "--k", "3", "--html", str(page)]
    done = CliRunner().invoke(app, ["search", *words])
    assert done.exit_code == 0, done.output
    assert "green apple" in page.read_text()
    assert page.read_text().count("data:image/jpeg;base64,") == 7


def test_an_empty_query_is_one_line(index: Path) -> None:
    done = CliRunner().invoke(app, ["search", str(index), "red apple", " "])
    assert done.exit_code == 2
    assert done.stderr == (
        "layerwise: a query is empty; give a file, a text or the name of an item\n"
    )


def test_the_side_of_another_network_is_refused(index: Path, tmp_path: Path) -> None:
    other = layerwise.open(f"hf:{tiny_clip(tmp_path, seed=1)}#text")
    card = Card.read(index)
    assert card is not None
    with pytest.raises(LayerwiseError, match="an index holds one network"):
        describe(other, layerwise.data.open(TEXTS), card)


def test_other_layers_and_networks_say_why_a_text_finds_nothing(
    clip: Path, pictures: Path, tmp_path: Path
) -> None:
    network = layerwise.open(f"hf:{clip}#image")
    layer = "both.vision_model.encoder.layers.1"
    samples = layerwise.data.open(pictures)
    made = index_samples(network, samples, tmp_path / "other", layers=layer)
    done = CliRunner().invoke(app, ["search", str(tmp_path / "other"), "red apple"])
    assert done.exit_code != 0
    assert "'red apple' is neither a file nor an item" in done.output
    assert f"made of {layer}, where a text has no place" in done.output
    assert "--layers joint" in done.output
    about = {"network": "dinov2-small"}
    plain = replace(made.card, reading=replace(made.card.reading, about=about))
    with pytest.raises(LayerwiseError, match=r"dinov2-small reads no texts; give a picture"):
        text_network(plain)
