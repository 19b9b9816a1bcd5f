"""Every required argument of a method is a word, every word is one of some method's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.vocabulary import WORDS, Word, arguments, examples

NAMES = {word.name for word in WORDS}


def test_required_arguments_are_words(any_method: Callable[..., Any]) -> None:
    assert arguments(any_method) <= NAMES


def test_no_word_is_unused(every_method: list[Callable[..., Any]]) -> None:
    assert set().union(*map(arguments, every_method)) == NAMES


def test_no_word_stands_twice() -> None:
    assert len(NAMES) == len(WORDS)


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.name)
def test_equal_seeds_make_equal_examples(word: Word) -> None:
    first, again = (_tensors(word.example(torch.Generator().manual_seed(3))) for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert first
    assert word.meaning
    assert word.shape == "Network" or "[" in word.shape


def _tensors(example: Any) -> list[torch.Tensor]:
    return tree_leaves(example.module.state_dict() if isinstance(example, Network) else example)


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    def method(feature: int) -> None: ...

    with pytest.raises(LayerwiseError, match="'feature'; nearest: features"):
        examples(method)
