"""Methods of the catalogue by what they mean: an index of their own, asked in words.

The text starter reads every method's name, summary and title into an index in the user's cache; the
index follows the catalogue. The order by meaning and the order by words are joined by the ranks,
`1 / (10 + rank)` summed over both, so that a name that stands in the question is not lost. Where
the starter's weights are not in the cache yet, the words alone decide: nothing is downloaded for a
question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from layerwise import data
from layerwise._catalogue import Entry, search
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.models import open as open_network
from layerwise.models._cache import cache_folder
from layerwise.models._starters import in_cache
from layerwise.search._card import Card
from layerwise.search._index import Index
from layerwise.search._indexing import describe, index_samples

STARTER = "minilm-l6"
_LAYER = "encoder.layer.5"
_FLAT, _SHOWN = 10, 10


def search_methods(words: str, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Rank methods by what some words mean, and by the words themselves.

    Args:
        words: a question or keywords.
        entries: where to look, as from `layerwise.catalogue`.

    Returns:
        The best ten by meaning, and whatever the words match.

    Example:
        >>> search_methods("", ())
        ()
    """
    by_words = search(words, tuple(entries))
    if not entries or not words.strip() or not in_cache(STARTER):
        return by_words
    try:
        by_meaning = _by_meaning(words, entries)
    except LayerwiseError:  # the cache is full, or another process is just writing the index
        return by_words
    shown = {*by_words, *by_meaning[:_SHOWN]}
    scores = dict.fromkeys(shown, 0.0)
    for order in (by_words, by_meaning):
        for rank, entry in enumerate(order):
            if entry in shown:
                scores[entry] += 1 / (_FLAT + rank)
    return tuple(sorted(shown, key=lambda entry: (-scores[entry], entry.room, entry.name)))


def _by_meaning(words: str, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    folder = cache_folder() / "methods"
    network = _starter()
    texts = {_text(entry): entry for entry in entries}
    samples = data.open(list(texts))
    card = Card.read(folder)
    index = Index.open(folder) if card is not None else None
    if index is None or not index.keys() >= set(samples.keys):
        index = index_samples(network, samples, folder, layers=_LAYER).index
        card = Card.read(folder)
    assert card is not None
    query = describe(network, replace(data.open([words]), names=("question",)), card).vectors
    hits = index.search(query, count=len(index))[0]
    named = dict(zip(samples.keys, texts.values(), strict=True))
    return tuple(named[hit.key] for hit in hits if hit.key in named)


@cache
def _starter() -> Network:
    """The text starter, read from the disk once."""
    return open_network(STARTER)


def _text(entry: Entry) -> str:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", entry.name).replace("_", " ")
    return f"{name}. {entry.summary} {entry.title}"
