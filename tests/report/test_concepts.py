"""The page of concepts: it holds all that it shows, of pictures and of texts."""

from __future__ import annotations

from pathlib import Path

import torch

from layerwise.explain import ConceptLayer, ConceptRow, UnitRow
from layerwise.explain._concept_survey import survey_concepts
from layerwise.report import write_concepts
from layerwise.vocabulary import examples


def test_the_page_stands_alone(tmp_path: Path) -> None:
    given = examples(survey_concepts)
    found = survey_concepts(**given, count=2, units=1, shown=3)
    names = [f"picture <{i}>" for i in range(36)]
    page = write_concepts(
        found,
        tmp_path,
        network="small",
        data="noise",
        names=names,
        pictures=list(given["inputs"]),
        words=[()] * 36,
        made={"command": "layerwise concepts small noise"},
    ).read_text()
    assert page.count("data:image/webp") == 2 * (2 * 3 + 3)
    assert "picture &lt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert f"{100 * found[0].agreement:.0f} %" in page


def test_texts_are_coloured_word_by_word(tmp_path: Path) -> None:
    heat = (torch.tensor([0.0, 2.0, 1.0]),)
    layer = ConceptLayer(
        "block",
        "block",
        8,
        0.5,
        0.25,
        0.1,
        (ConceptRow(1.0, 1.0, (0,), heat),),
        (UnitRow(3, 2.0, (0,)),),
    )
    page = write_concepts(
        [layer],
        tmp_path,
        network="small",
        data="texts",
        names=["one"],
        pictures=[None],
        words=[["a", " b", " c"]],
        made={},
    ).read_text()
    assert '<span>a</span><span class="p8"> b</span><span class="p4"> c</span>' in page
    assert "a summary, not the reasons" in page
