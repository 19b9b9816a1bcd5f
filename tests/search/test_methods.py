"""Methods are found by meaning at least as well as by words, on questions written beforehand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from layerwise._catalogue import Entry, catalogue, search
from layerwise.search import search_methods

QUESTIONS = Path(__file__).parents[1] / "questions.tsv"


def _questions() -> list[tuple[str, set[str]]]:
    with QUESTIONS.open(encoding="utf-8") as file:
        rows = [
            (question, set(names.split())) for question, names in csv.reader(file, delimiter="\t")
        ]
    known = {entry.name for entry in catalogue()}
    return [(question, names & known) for question, names in rows if names & known]


def _score(order: tuple[Entry, ...], names: set[str]) -> tuple[float, float]:
    """One over the rank of the first right method, and whether it is among the first five."""
    ranks = [rank for rank, entry in enumerate(order, start=1) if entry.name in names]
    return (1 / ranks[0] if ranks else 0.0), float(bool(ranks) and ranks[0] <= 5)


def test_without_the_starter_the_words_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.search._methods.in_cache", lambda _: False)
    entries = catalogue()
    assert search_methods("similarity of layers", entries) == search(
        "similarity of layers", entries
    )


@pytest.mark.weights
def test_meaning_finds_at_least_what_words_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import layerwise

    layerwise.open("minilm-l6")
    monkeypatch.setattr("layerwise.search._methods.cache_folder", lambda: tmp_path)
    entries = catalogue()
    asked = _questions()
    words = [_score(search(question, entries), names) for question, names in asked]
    meaning = [_score(search_methods(question, entries), names) for question, names in asked]
    for place in (0, 1):
        assert sum(each[place] for each in meaning) >= sum(each[place] for each in words)
    assert search_methods("cka", entries)[0].name.lower() == "cka"
