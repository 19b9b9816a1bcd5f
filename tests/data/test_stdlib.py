"""The built-in texts."""

from __future__ import annotations

import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from layerwise import data
from layerwise.data._stdlib import _chosen, _shuffle
from layerwise.data.laws import check


@pytest.fixture(scope="module")
def stdlib():
    return data.open("stdlib")


def test_samples_keep_the_laws(stdlib):
    check(stdlib)
    assert 900 <= len(stdlib) <= 1200
    assert stdlib.modality == "text"
    assert len(set(stdlib.items)) == len(stdlib)


def test_targets_are_of_different_nature_and_balanced(stdlib):
    kind, package, order, words = stdlib.targets.values()
    assert kind.classes == ("code", "comment", "docstring")
    assert len(package.classes) == 8
    assert order.classes == ("kept", "shuffled")
    for target in (kind, package, order):
        counts = target.values.bincount()
        assert counts.min() > 0.7 * counts.max()
    assert words.values.tolist() == [len(text.split()) for text in stdlib.items]


@pytest.mark.parametrize("target", ["kind", "package", "order", "words"])
def test_excerpts_of_one_file_stay_together(stdlib, target):
    parts = data.split(stdlib, target, seed=0)
    files = [name.partition(":")[0] for name in stdlib.names]
    on = [
        {files[row] for row in side.tolist()}
        for side in (parts.train, parts.validation, parts.test)
    ]
    assert not on[0] & on[1]
    assert not on[0] & on[2]
    assert not on[1] & on[2]
    assert parts.left_out.numel() == 0


def test_shuffling_keeps_the_words_and_the_places_between_them():
    text = "one two\n    three  four five"
    mixed = _shuffle(text, 0)
    assert mixed != text
    assert Counter(mixed.split()) == Counter(text.split())
    assert [c for c in mixed if c.isspace()] == [c for c in text if c.isspace()]


def test_kinds_are_what_they_say():
    library = Path(sysconfig.get_paths()["stdlib"])
    for excerpt in _chosen()[:200]:
        assert len(excerpt.text) <= 600
        source = (library / excerpt.file).read_text(encoding="utf-8").split("\n")
        first = source[excerpt.line - 1].strip()
        if excerpt.kind == "comment":
            assert first.startswith("#")
        elif excerpt.kind == "code":
            assert first == excerpt.text.split("\n")[0].strip()
        else:
            assert first.lstrip("rRuUbB").startswith(('"', "'"))


def test_limits_nest_and_keep_the_words(stdlib):
    small = data.open("stdlib", limit=100)
    texts = dict(zip(stdlib.names, stdlib.items, strict=True))
    assert len(small) == 100
    assert all(texts[name] == text for name, text in zip(small.names, small.items, strict=True))
    assert data.open("stdlib").keys == stdlib.keys
