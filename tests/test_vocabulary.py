"""Every required argument of a method is a word, every word is one of some method's arguments."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import torch

from layerwise._catalogue import Entry, catalogue
from layerwise.errors import LayerwiseError
from layerwise.vocabulary import WORDS, Word, examples, required

METHODS = catalogue()
NAMES = {word.name for word in WORDS}


def _arguments(entry: Entry) -> set[str]:
    method = getattr(import_module(f"layerwise.{entry.room}"), entry.name)
    if not inspect.isclass(method):
        return set(required(method))
    maker = method.fit if "fit" in vars(method) else method
    calls = [getattr(method, name) for name in ("forward", "__call__") if name in vars(method)]
    return {name for step in (maker, *calls) for name in required(step)} - {"self"}


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: f"{entry.room}.{entry.name}")
def test_required_arguments_are_words(entry: Entry) -> None:
    assert _arguments(entry) <= NAMES


def test_no_word_is_unused() -> None:
    assert set().union(*map(_arguments, METHODS)) == NAMES


def test_no_word_stands_twice() -> None:
    assert len(NAMES) == len(WORDS)


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.name)
def test_equal_seeds_make_equal_examples(word: Word) -> None:
    first, again = (word.example(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert word.meaning
    assert word.shape.startswith("[")


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    def method(feature: int) -> None: ...

    with pytest.raises(LayerwiseError, match="'feature'; nearest: features"):
        examples(method)
