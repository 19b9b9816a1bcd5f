"""An index that answers: the items most like what is given, by all its layers and by each alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from torch import Tensor

from layerwise import models
from layerwise.data import Unreadable
from layerwise.errors import LayerwiseError
from layerwise.features import Column
from layerwise.models import Network
from layerwise.search import Behind, Card, Hit, Index, text_network
from layerwise.serve._answers import Answer, Answers, answered, ask_at
from layerwise.serve._bench import Bench
from layerwise.serve._features import columns_of, seen
from layerwise.serve._inputs import Form, Modality, Options, samples_of
from layerwise.serve._limits import Limits
from layerwise.serve._pictures import Thumbnails, excerpt
from layerwise.serve._service import Front
from layerwise.taps._columns import Wanted

_MOST = 100
_WORDS = "/search_words"
_SAID = "Find the pictures that each text describes best."


class _Asked(Options):
    k: int = Field(10, ge=1, le=_MOST, description="How many items to find; fewer if there are.")


class Item(BaseModel):
    """An item that was found."""

    key: str = Field(description="Made from its content; its picture is at `/items/{key}`.")
    name: str
    score: float = Field(description="Cosine with the input.")
    targets: dict[str, str | float | None] = Field(description="What is known of it.")
    text: str | None = Field(description="Its beginning, if it is a text and is still there.")


class Way(BaseModel):
    """What is found by some of the index's layers."""

    layers: list[str] = Field(description="Address and pooling of each.")
    hits: list[Item] = Field(description="The most alike first.")


class Found(Answer):
    """What was found for one input."""

    ways: list[Way] = Field(
        description="By all layers of the index first, then by each alone where they can be told "
        "apart: the index holds several, and they are not whitened together."
    )


@final
@dataclass(frozen=True)
class _Part:
    """Some of the columns that an index's vectors are made of.

    Args:
        columns: their layers and poolings.
        start: where they begin in a vector.
        width: how long they are.
        scale: from the cosine of a vector with only this part in it to that of the parts.
    """

    columns: tuple[str, ...]
    start: int
    width: int
    scale: float

    def of(self, vectors: Tensor) -> Tensor:
        """The vectors with nothing but this part."""
        kept = torch.zeros_like(vectors)
        part = slice(self.start, self.start + self.width)
        kept[:, part] = vectors[:, part]
        return kept


@final
class IndexService:
    """Answers with an index.

    Args:
        index: the items.
        card: what the index is made with.
        networks: by what they read: that of the index, and where its pictures are found by texts
            the texts' side of it.
        columns: what is read of it.
        modality: of what the index holds.
    """

    kind = "index"

    def __init__(
        self,
        index: Index,
        card: Card,
        networks: Mapping[Modality, Network],
        columns: Wanted,
        modality: Modality,
    ) -> None:
        self.index = index
        self.card = card
        self.networks = networks
        self.columns = columns
        self.modality = modality
        self.parts = _parts(card)
        self.behind = Behind()

    @classmethod
    def open(cls, folder: Path, device: str) -> IndexService:
        """Open an index and its network.

        Raises:
            LayerwiseError: one of them cannot be opened, or the weights are not those of the index.
        """
        card = Card.read(folder)
        if card is None:
            raise LayerwiseError(f"{str(folder)!r} holds no index; give one of `layerwise index`")
        if card.modality not in ("image", "text"):
            raise LayerwiseError(
                f"the index {str(folder)!r} holds tensors; only those of pictures and of texts can "
                "be served"
            )
        index = Index.open(folder)
        network = models.open(card.network, device=device)
        columns = columns_of(card.reading, network, f"the index {str(folder)!r}")
        modality: Modality = "image" if card.modality == "image" else "text"
        networks = {modality: network}
        if modality == "image" and (words := _words(card, device)) is not None:
            networks["text"] = words
        return cls(index, card, networks, columns, modality)

    @property
    def front(self) -> Front:
        """What the page says of it."""
        card, named = self.card, [_named(column) for column in self.card.reading.columns]
        noun = "pictures" if self.modality == "image" else "texts"
        how = f"{len(self.index):,} {noun}, compared by {' and '.join(named)} of {card.network}"
        both = ", and found by words as well" if len(self.networks) > 1 else ""
        lead = f"{how}{both}. The most alike come first."
        told = (
            ("network", card.network),
            ("layers", ", ".join(named)),
            ("vectors", f"{card.width} numbers of length 1"),
            ("chosen", card.choice.words if card.choice else "by whoever made the index"),
        )
        ways = ["all layers" if len(p.columns) > 1 else p.columns[0] for p in self.parts]
        more = {"ways": ways, "form": {"k": "12"}}
        if len(self.networks) > 1:
            more["words"] = _WORDS.removeprefix("/")
        return Front("What is like it?", lead, "search", told, more)

    def attach(self, app: FastAPI, bench: Bench, limits: Limits) -> None:
        """Add `/search`, `/search_words` where texts find pictures, and `/items/{key}`."""
        for modality in self.networks:
            form = Form(modality, limits, _Asked)
            own = modality == self.modality
            ask_at(
                app,
                "/search" if own else _WORDS,
                self._endpoint(bench, form),
                form=form,
                model=Answers[Found],
                said="Find the items most like each input." if own else _SAID,
            )
        if self.modality == "image":
            Thumbnails(self._load).attach(app, bench)

    def _endpoint(
        self, bench: Bench, form: Form
    ) -> Callable[[Request], Coroutine[Any, Any, Answers[Any]]]:
        describe = partial(self.describe, form.modality)  # one for all requests: they are joined

        async def search(request: Request) -> Answers[Any]:
            given, asked = await form.read(request)
            vectors, left = await answered(
                bench, given, describe, lambda i, name, vector: (i, name, vector)
            )
            found = await bench.do(self.find, [(vector, asked.k) for _, _, vector in vectors])
            pairs = zip(vectors, found, strict=True)
            answers = [Found(input=i, name=name, ways=ways) for (i, name, _), ways in pairs]
            return Answers(answers=answers, set_aside=left)

        return search

    def describe(
        self, modality: Modality, contents: Sequence[str | bytes]
    ) -> list[Tensor | Unreadable]:
        """The vector of each input, or why there is none."""
        samples = samples_of(contents, modality)
        read = seen(self.networks[modality], samples, self.columns)
        found: dict[int, Tensor | Unreadable] = dict(read.left)
        if read.places:
            found |= dict(zip(read.places, self.card.descriptor(read.features), strict=True))
        return [found[place] for place in range(len(samples))]

    def find(self, asked: Sequence[tuple[Tensor, int]]) -> list[list[Way]]:
        """What is found for each vector, so many items, by each way."""
        vectors = torch.stack([vector for vector, _ in asked])
        count = min(max(k for _, k in asked), len(self.index))
        ways: list[list[Way]] = [[] for _ in asked]
        for part in self.parts:
            for (_, k), mine, hits in zip(
                asked, ways, self.index.search(part.of(vectors), count=count), strict=True
            ):
                items = [self._item(hit, part.scale) for hit in hits[:k]]
                mine.append(Way(layers=list(part.columns), hits=items))
        return ways

    def _item(self, hit: Hit, scale: float) -> Item:
        text = None
        if self.modality == "text":
            try:
                text = excerpt(self.behind.load(hit))
            except Unreadable:
                text = None
        score = hit.score * scale
        return Item(key=hit.key, name=hit.name, score=score, targets=dict(hit.targets), text=text)

    def _load(self, key: str) -> object:
        return self.behind.load(self.index.item(key))


def _words(card: Card, device: str) -> Network | None:
    """The network that reads texts for an index of pictures, if there is one."""
    try:
        source = text_network(card)
    except LayerwiseError:
        return None
    return models.open(source, device=device)


def _parts(card: Card) -> tuple[_Part, ...]:
    """All columns together, then each alone where a vector still has them side by side.

    Each of `n` columns has the length 1 / sqrt(n) in a vector of length 1, so that the cosine with
    a vector of one part alone is that of the parts, divided by sqrt(n).
    """
    columns = card.reading.columns
    whole = _Part(tuple(map(_named, columns)), 0, card.width, 1.0)
    if card.descriptor.whiten is not None or len(columns) == 1:
        return (whole,)
    parts, start = [whole], 0
    for column in columns:
        parts.append(_Part((_named(column),), start, column.width, len(columns) ** 0.5))
        start += column.width
    return tuple(parts)


def _named(column: Column) -> str:
    return f"{column.layer} ({column.pooling})"
