"""How deep a language model has to be: a tiny one whose last blocks do nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import layerwise
from layerwise import atlas, data, report
from layerwise.atlas._language import language_of
from layerwise.atlas._language_rows import Language, LanguageRow
from layerwise.atlas._language_words import language_words
from layerwise.models import Network
from layerwise.models._text import TextCollate
from layerwise.vocabulary import examples


def _letters(text: str) -> dict[str, Any]:
    ids = torch.tensor([ord(letter) % 20 for letter in text][:40])
    return {"input_ids": ids, "truncated": False}


@pytest.fixture(scope="module")
def network() -> Network:
    """A Llama of letters with three blocks, the last of which adds nothing."""
    module = examples(layerwise.taps.logit_lens)["language_model"].module
    with torch.no_grad():
        last = module.model.layers[2]
        last.self_attn.o_proj.weight.zero_()
        last.mlp.down_proj.weight.zero_()
    module.config.use_cache = False
    return layerwise.open(
        module,
        example={"input_ids": torch.arange(6)[None]},
        prepare=_letters,
        collate=TextCollate(pad=0),
        modality="text",
        name="letters",
    )


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> data.Samples:
    words = "many small brown foxes jumped over lazy sleeping hounds under yellow autumn trees"
    lines = ["text,kind"]
    for i in range(60):
        order = torch.randperm(13, generator=torch.Generator().manual_seed(i)).tolist()
        picked = [words.split()[j] for j in order]
        lines.append(f"{' '.join(picked)},{'even' if i % 2 else 'odd'}")
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    path.write_text("\n".join(lines) + "\n")
    return data.open(str(path))


@pytest.fixture(scope="module")
def found(network: Network, samples: data.Samples) -> Language:
    language = language_of(network, samples, 0)
    assert language is not None
    return language


def test_a_block_that_adds_nothing_is_not_needed(found: Language) -> None:
    *_, before, last = found.rows
    assert last.layer == "model.layers.2"
    assert (last.lens, last.shortcut, last.attention, last.mlp) == (1, 1, 0, 0)
    assert before.lens == 1
    assert before.divergence < 1e-5
    assert last.skipped_output is not None
    assert last.skipped_output < 1e-5
    assert found.effective_depth <= 2
    assert "needs 2 of its 3 blocks" in found.words or "needs 1 of its 3 blocks" in found.words


def test_every_number_is_there_for_every_block(found: Language) -> None:
    for row in found.rows[1:]:
        numbers = (row.attention, row.mlp, row.future_output, row.skipped_output, row.cdnv)
        assert all(value is not None and math.isfinite(value) for value in numbers)
        assert row.lens_low <= row.lens <= row.lens_high
        assert row.shortcut_low <= row.shortcut <= row.shortcut_high
        assert row.answers is not None
    assert found.rows[0].attention is None  # the embedding is no block
    assert found.rows[-1].skipped_later is None  # nothing comes after it
    assert found.rows[1].skipped_later is not None
    assert found.chance == 0.25


def test_what_is_no_language_model_has_no_such_answer(samples: data.Samples) -> None:
    module = torch.nn.Linear(4, 4)
    assert language_of(layerwise.open(module, example=torch.zeros(1, 4)), samples, 0) is None


def _row(layer: str, agreement: float, output: float | None) -> LanguageRow:
    ends = (agreement, agreement - 0.02, agreement + 0.02)
    nothing = (None,) * 4
    return LanguageRow(
        "net", layer, *ends, *ends, 1.0, None, None, None, output, *nothing[:2], None, *nothing[:3]
    )


def test_words_say_what_was_found() -> None:
    rows = tuple(
        _row(name, agreement, output)
        for name, agreement, output in (
            ("embed", 0.1, None),
            ("0", 0.2, 0.9),
            ("1", 0.97, 0.1),
            ("2", 0.96, 0.3),
            ("3", 1.0, 0.2),
        )
    )
    given = Language("net", 10, 80, 500, 4, 1, 0.5, None, rows, "")
    words = language_words(given).words
    assert "net needs 2 of its 4 blocks: from 1 on" in words
    assert "97 % (95 to 99 %)" in words
    assert "2.0 blocks would run on average" in words
    assert "rest on the first block:" in words
    assert "1 is missed least and 0 most" in words
    late = language_words(
        Language("net", 10, 80, 500, 4, 1, None, None, (rows[0], rows[1], rows[4]), "")
    )
    assert "needs all of its 4 blocks" in late.words
    assert "No token can stop early" in late.words


def test_the_atlas_of_texts_holds_it_and_the_page_says_it(
    network: Network, samples: data.Samples, tmp_path: Path
) -> None:
    made = atlas.survey([network], samples, out=tmp_path, seeds=(0,), layers="blocks")
    (language,) = made.language
    assert atlas.load(tmp_path) == made
    assert (tmp_path / "tables" / "language.parquet").exists()
    page = report.write(made, tmp_path).read_text()
    assert "How deep does it have to be?" in page
    assert language.words.split(":")[0] in page


def test_a_language_model_needs_no_target(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("plain") / "texts.txt"
    path.write_text("\n".join(f"line {i} of a text without any target" for i in range(40)) + "\n")
    out = tmp_path_factory.mktemp("atlas")
    made = layerwise.survey([network], data.open(str(path)), out=out)
    assert made.choices == ()
    assert made.language[0].blocks == 3
    assert made.similarity
    page = report.write(made, out)
    assert "No target was given" in page.read_text()
    (network_row,) = made.networks
    assert any("samples" in note for note in network_row.notes)
