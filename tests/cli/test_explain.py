"""`layerwise explain` writes one page, and says in one line what cannot be explained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

import layerwise
from layerwise.cli import app
from layerwise.explain import account, sample_of
from layerwise.models import TextPreparation
from layerwise.report import write_explanations


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    path = tmp_path / "noise & <b>.png"
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is opened by name, but small and quick."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()  # fmt: skip

    def prepare(image: Image.Image) -> torch.Tensor:
        small = image.convert("RGB").resize((16, 16))
        return torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255

    network = layerwise.open(module, prepare=prepare, modality="image")
    monkeypatch.setattr("layerwise.models.open", lambda *_, **__: network)


def _run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["explain", *words])
    if result.exit_code == 1 and result.exception is not None:
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("small")
def test_one_picture_becomes_one_page(picture: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    code, said, _ = _run("any", str(picture), "--out", str(page), "--layer", "1")
    assert code == 0
    assert "grad-cam" in said
    text = page.read_text()
    assert "noise &amp; &lt;b&gt;.png" in text
    assert "above chance" in text
    assert "Scale from blue" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)  # nothing is fetched
    assert "<script" not in text


@pytest.mark.usefixtures("small")
def test_bench_ranks_every_way_on_several_pictures(picture: Path, tmp_path: Path) -> None:
    for i in range(2):
        Image.open(picture).rotate(90 * i).save(tmp_path / f"{i}.png")
    page = tmp_path / "page"
    page.mkdir()
    code, said, _ = _run(
        "any",
        str(tmp_path),
        "--bench",
        "--limit",
        "2",
        "--layer",
        "1",
        "--out",
        str(page),
        "--json",
    )
    assert code == 0
    told = json.loads(said)
    scores = [each["above_chance"] for each in told["explanations"]]
    assert scores == sorted(scores, reverse=True)
    assert {each["way"] for each in told["explanations"]} >= {"grad-cam", "occlusion", "regions"}
    assert len(told["samples"]) == 2
    assert Path(told["page"]).is_file()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "3"), "target 3 is out of range.*0 to 2"),
        (("--layer", "4"), "has no places"),
        (("--layer", "9"), "nearest"),
        (("--method", "gradcam"), "nearest: grad-cam"),
        (("--method", "norm-x-logit"), "explains texts"),
        (("--of", "9"), "nearest"),
    ],
)
def test_mistakes_are_told_in_one_line(
    picture: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, said = _run("any", str(picture), "--out", str(tmp_path / "page.html"), *words)
    assert code == 2
    assert re.search(message, " ".join(said.split()))


@pytest.mark.usefixtures("small")
def test_a_file_that_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    assert "cannot be read as a picture" in _run("any", str(tmp_path / "text.png"))[2]
    assert "there is no picture at" in " ".join(_run("any", str(tmp_path / "none.png"))[2].split())


@pytest.fixture
def reader() -> layerwise.Network:
    """A small encoder of texts, with a tokenizer of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat", "."]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]"
    )
    config = BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=6,
    )  # fmt: skip
    from layerwise.models._text import TextCollate

    module = BertModel(config, add_pooling_layer=False).eval()
    return layerwise.open(
        module,
        prepare=TextPreparation.of(tokenizer, length=6),
        collate=TextCollate(pad=0),
        modality="text",
    )


def test_a_text_shows_its_words_in_colour(reader: layerwise.Network, tmp_path: Path) -> None:
    sample, name = sample_of(reader, "the cat sat on the mat . the cat")
    told = account(reader, [sample], [name], methods=["norm-x-logit", "grad-cam"], layers="blocks")
    assert told.subjects[0].words == (" the", " cat", " sat", " on", " the", " mat")
    assert "only its beginning is explained" in told.notes[0]
    assert told.subjects[0].aim.probability == pytest.approx(1)
    assert told.subjects[0].aim.name == "its own embedding"
    text = write_explanations(told, tmp_path / "text.html").read_text()
    assert re.search(r'<span class="[pn][1-8]" title="[^"]+"> cat</span>', text)
