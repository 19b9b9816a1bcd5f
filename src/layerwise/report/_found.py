"""The page of a search: every query with what was found for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerwise.data import Samples, Unreadable
from layerwise.report._gallery import Figure, Row, write_gallery
from layerwise.search import Behind, Card, Hit


def write_found(
    path: str | Path,
    card: Card,
    names: Sequence[str],
    asked: Sequence[tuple[Samples, int] | None],
    found: Sequence[Sequence[Hit]],
) -> Path:
    """Write what a search has found.

    Args:
        path: the file.
        card: what the index is made with.
        names: of the queries.
        asked: each query as a row of samples, or None where it is an item of the index.
        found: the items of each query, best first.

    Raises:
        LayerwiseError: the file cannot be written.
    """
    behind = Behind()
    rows = []
    for name, query, hits in zip(names, asked, found, strict=True):
        itself = next((hit for hit in hits if hit.name == name), None) if query is None else None
        picture = _figure(behind, itself).sample if itself else query and _sample(*query)
        lead = Figure(name, picture, "query")
        rows.append(Row(name, "", lead, [_figure(behind, hit) for hit in hits]))
    made = [
        (column.layer, f"{column.pooling}, {column.width} numbers")
        for column in card.reading.columns
    ]
    facts = [("network", card.network), *made, ("vectors", f"{card.width} numbers of length 1")]
    if card.choice is not None:
        facts.append(("chosen", card.choice.words))
    many = "query" if len(names) == 1 else "queries"
    return write_gallery(
        path,
        title="What is like it?",
        lead=f"{len(names)} {many} to an index of {card.network}, the most alike first.",
        rows=rows,
        facts=facts,
    )


def _figure(behind: Behind, hit: Hit) -> Figure:
    told = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in hit.targets.items()
        if value is not None
    )
    try:
        sample = behind.load(hit)
    except Unreadable as reason:
        return Figure(hit.name, None, f"{hit.score:.3f}", f"{told} ({reason})".strip())
    return Figure(hit.name, sample, f"{hit.score:.3f}", told)


def _sample(samples: Samples, row: int) -> object:
    try:
        return samples.load(row)
    except Unreadable:
        return None
