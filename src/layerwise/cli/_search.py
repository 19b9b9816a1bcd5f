"""`layerwise search`: what in an index is most like a picture, a text or another item."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, note_all, say, say_json, say_table
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from layerwise.data import Samples
    from layerwise.models import Network
    from layerwise.search import Card, Hit, Index

_RERANKED = 400


def find(
    index: option.IndexFolder,
    queries: Annotated[
        list[str],
        typer.Argument(help="Files or folders, texts for a text network, or names of items."),
    ],
    *,
    count: option.Count = 10,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Rerank the best 400 by what they find themselves.")
    ] = False,
    joined: Annotated[
        int, typer.Option("--expand", min=0, help="Join a query with so many of its first finds.")
    ] = 0,
    scales: Annotated[
        bool, typer.Option("--scales", help="Look at the middle of each picture more closely, too.")
    ] = False,
    region: Annotated[
        str, typer.Option("--region", help="Part of the pictures: left,top,right,bottom, 0 to 1.")
    ] = "",
    html: option.Html = None,
    device: option.Device = "auto",
    as_json: option.Json = False,
) -> None:
    """Find the items of an index that are most like each query."""
    import torch

    from layerwise import models, report, search

    opened = search.Index.open(index)
    card = search.Card.read(index)
    if card is None:
        raise LayerwiseError(
            f"{str(index / 'index.json')!r} is missing: nobody knows what the index was made with"
        )
    stored, files = _split(opened, card, queries)
    names, views = list(stored), [opened.vectors(list(stored.values()))]
    pictures: list[tuple[Samples, int] | None] = [None] * len(stored)
    networks: dict[str, Network] = {}
    for samples in files:
        words = search.text_network(card) if samples.modality == "text" else card.network
        if words not in networks:
            networks[words] = models.open(words, device=device_for(device))
        asked = search.cut(samples, _region(region)) if region else samples
        several = search.scales(asked) if scales else (asked,)
        read = [search.describe(networks[words], each, card) for each in several]
        note_all("set aside", [(each.name, each.reason) for each in read[0].set_aside])
        names += read[0].names
        pictures += [(asked, asked.names.index(name)) for name in read[0].names]
        views.append(torch.stack([each.vectors for each in read]))
    found: list[tuple[Hit, ...]] = []
    for each in views:
        if each.numel():
            wide = each if each.ndim == 3 else each[None]
            first = _RERANKED if rerank else 0
            found += search.ask(opened, wide, count=count, first=first, joined=joined)
    if html is not None:
        page = report.write_found(html, card, names, pictures, found)
        note(f"The page: {page}")
    _answer(names, found, as_json)


def _answer(names: list[str], found: list[tuple[Hit, ...]], as_json: bool) -> None:
    if as_json:
        pairs = zip(names, found, strict=True)
        say_json([{"query": name, "hits": [asdict(hit) for hit in hits]} for name, hits in pairs])
        return
    for name, hits in zip(names, found, strict=True):
        if len(names) > 1:
            say(name)
        known = tuple(hits[0].targets) if hits else ()
        rows = (
            (f"{hit.score:.3f}", hit.name, *(_word(hit.targets[target]) for target in known))
            for hit in hits
        )
        say_table(("score>", "item", *known), rows)


def _word(value: str | float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else value


def _split(index: Index, card: Card, queries: list[str]) -> tuple[dict[str, str], list[Samples]]:
    """Keys of the items that are asked by name, and samples of everything else."""
    from layerwise import data as room

    stored: dict[str, str] = {}
    texts: list[str] = []
    files: list[Samples] = []
    for query in queries:
        if not query.strip():
            raise LayerwiseError("a query is empty; give a file, a text or the name of an item")
        if named := index.keys_named(query):
            stored[query] = named[0]
        elif Path(query).exists():
            file = Path(query).is_file() and card.modality == "image" and not _holds_many(query)
            opened = room.open([Path(query)]) if file else room.open(query)
            files.append(replace(opened, names=(query,)) if file else opened)
        else:
            _require_texts(card, query)
            texts.append(query)
    if texts:
        files.append(replace(room.open(texts), names=tuple(texts)))
    return stored, files


def _require_texts(card: Card, query: str) -> None:
    from layerwise import search

    try:
        search.text_network(card)
    except LayerwiseError as reason:
        raise LayerwiseError(
            f"{query!r} is neither a file nor an item of the index, and {reason}"
        ) from None


def _holds_many(path: str) -> bool:
    return Path(path).suffix.lower() in {".zip", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}


def _region(words: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(word) for word in words.split(","))
    except ValueError:
        raise LayerwiseError(
            f"region {words!r}: give left,top,right,bottom from 0 to 1, as in 0.25,0,0.75,1"
        ) from None
    return left, top, right, bottom
