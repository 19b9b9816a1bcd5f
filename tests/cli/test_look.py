"""The commands that look inside a network: what they print, and the pages they write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

import layerwise
from layerwise.cli import app
from layerwise.models import TextPreparation


def _invoke(*words: object) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network of pictures, opened whatever name is asked for."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    prepare = layerwise.models.ImagePreparation(16, (16, 16), "bilinear", 3 * (0.5,), 3 * (0.5,))
    opened = layerwise.open(
        module.eval(),
        example=torch.zeros(1, 3, 16, 16),
        name="tiny",
        prepare=prepare,
        modality="image",
    )
    monkeypatch.setattr("layerwise.models.open", lambda *_, **_options: opened)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> layerwise.Network:
    """A small language model over single letters, opened whatever name is asked for."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate("?abcdefgh ")}
    plain = Tokenizer(models.WordLevel(letters, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="?", pad_token="?")
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    torch.manual_seed(0)
    module = LlamaForCausalLM(config).eval()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    opened = layerwise.open(
        module,
        example={"input_ids": torch.tensor([[1, 2, 3]])},
        name="letters",
        prepare=TextPreparation.of(tokenizer, length=12),
        modality="text",
    )
    monkeypatch.setattr("layerwise.models.open", lambda *_, **_options: opened)
    return opened


def test_visualize_writes_pictures_and_a_page(pictures: None, tmp_path: Path) -> None:
    options = ("--layer", "1", "-u", 1, "-u", 3, "--steps", 3, "--crops", 2, "--limit", 12)
    told = json.loads(_invoke("visualize", "tiny", *options, "--out", tmp_path, "--json").stdout)
    assert [row["unit"] for row in told["units"]] == [1, 3]
    assert told["layer"] == "1"
    page = (tmp_path / "index.html").read_text()
    assert "Unit 1" in page
    assert "of 12 photographs answer less" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for unit in (1, 3):
        assert (tmp_path / f"unit-{unit}.png").read_bytes().startswith(b"\x89PNG")
    again = _invoke("visualize", "tiny", *options, "--out", tmp_path, "--json").stdout
    assert json.loads(again) == told
    assert "above photographs" in _invoke("visualize", "tiny", *options, "--out", tmp_path).stdout


def test_a_unit_that_is_not_there_is_one_line(pictures: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["visualize", "tiny", "--layer", "1", "-u", "9", "--out", str(tmp_path)]
    )
    assert done.exit_code == 2
    assert "has units 0 to 3, and no unit 9" in done.stderr


def test_trace_writes_a_page_that_holds_the_graph(words: layerwise.Network, tmp_path: Path) -> None:
    options = ("--threshold", 0.005, "--out", tmp_path)
    told = json.loads(_invoke("trace", "letters", "abc d", *options, "--json").stdout)
    assert told["tokens"] == ["a", "b", "c", " ", "d"]
    with torch.no_grad():
        logits = words.module(torch.tensor([[1, 2, 3, 9, 4]])).logits[0, -1]
    assert told["predictions"][0]["probability"] == pytest.approx(logits.softmax(0).max().item())
    assert told["lens"][-1][-1] == told["predictions"][0]
    assert len(told["states"]) == 4
    page = (tmp_path / "index.html").read_text()
    held = json.loads(re.search(r'id="trace">(.*?)</script>', page, re.DOTALL)[1])
    assert len(held["edges"]) == len(told["edges"])
    assert {part["name"].split()[0] for part in told["parts"]} == {"head", "mlp", "neuron"}
    assert "makes likelier" in _invoke("trace", "letters", "abc d", *options).stdout


def test_a_text_that_is_too_long_is_one_line(words: layerwise.Network, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["trace", "letters", "abcdefgh" * 4, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "more than the 12 tokens" in done.stderr


def test_a_network_of_pictures_is_not_traced(pictures: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["trace", "tiny", "abc", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "has no tokenizer" in done.stderr
