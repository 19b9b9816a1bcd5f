"""What a search finds: all items of an index's newest commit in memory, or some on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from jaxtyping import Float
from torch import Tensor

from layerwise.features import Store
from layerwise.features._disk import plain_errors
from layerwise.features._lance import Values, target_column
from layerwise.search._approximate import ask, vectors_of
from layerwise.search._neighbours import Found

SOURCE = "@source"
"""Name of the target that says where an item comes from; no data can have a target of this name."""

Fit = Callable[[Tensor], Callable[..., Found]]
"""Makes an index in memory: `Neighbours.fit`, `Usearch.fit` or `Faiss.fit`."""


@final
@dataclass(frozen=True)
class Hit:
    """An item that was found.

    Args:
        key: made from the item's content.
        name: what people call it.
        source: where it comes from.
        score: cosine with the query, or what the reranking makes of it.
        targets: what is known of it.
    """

    key: str
    name: str
    source: str
    score: float
    targets: Mapping[str, str | float | None] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Memory:
    """All items of one commit.

    Args:
        fit: what the search was made by.
        near: the search.
        vectors: of all items.
        keys: of all items, as the next two.
        names: what people call them.
        sources: where they come from.
        targets: what is known of them, by name.
    """

    fit: Fit
    near: Callable[..., Found]
    vectors: Float[Tensor, "n d"]
    keys: tuple[str, ...]
    names: Sequence[str]
    sources: Sequence[str]
    targets: Mapping[str, Sequence[str | float | None]]

    @classmethod
    def of(cls, store: Store, targets: Sequence[str], fit: Fit) -> Memory:
        """Read all of it."""
        vectors = store.load(store.columns[0])
        told = {name: plain(store.values(name)) for name in targets}
        names = [str(name) for name in plain(store.values("name"))]
        known = plain(store.values(SOURCE)) if SOURCE in store.targets else [None] * len(vectors)
        sources = [str(source or "") for source in known]
        return cls(fit, fit(vectors), vectors, store.keys(), names, sources, told)

    def hit(self, row: int, score: float) -> Hit:
        """An item as it is told to the user."""
        told = {name: values[row] for name, values in self.targets.items()}
        return Hit(self.keys[row], self.names[row], self.sources[row], score, told)


@final
class Held:
    """What is held in memory of a store that others may write to.

    Args:
        store: the vectors.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._memory: Memory | None = None

    def follow(self) -> None:
        """Go on to the newest commit, and forget older ones."""
        if self.store.refresh():
            self.forget()

    def forget(self) -> None:
        """Read all of it again when it is asked for."""
        self._memory = None

    def near(
        self, targets: Sequence[str], unit: Float[Tensor, "m d"], count: int, fit: Fit
    ) -> list[tuple[list[Hit], Tensor]]:
        """The items near to each query, with their vectors, by a search in memory.

        Args:
            targets: what is known of the items, by name.
            unit: the queries, of length 1.
            count: how many for each.
            fit: makes the search.
        """
        if self._memory is None or self._memory.fit != fit:
            self._memory = Memory.of(self.store, targets, fit)
        memory = self._memory
        found = memory.near(unit, count=count)
        scores = 1 - found.distances.square() / 2
        return [
            (
                [memory.hit(row, score) for row, score in zip(rows, best, strict=True)],
                memory.vectors[rows],
            )
            for rows, best in zip(found.rows.tolist(), scores.tolist(), strict=True)
        ]


def near_on_disk(
    store: Store,
    targets: Sequence[str],
    unit: Float[Tensor, "m d"],
    count: int,
    *,
    probes: int,
) -> list[tuple[list[Hit], Tensor]]:
    """The items near to each query, with their vectors, by Lance's vector index.

    Args:
        store: the vectors.
        targets: what is known of the items, by name.
        unit: the queries, of length 1.
        count: how many for each.
        probes: cells to look into.

    Raises:
        LayerwiseError: the dataset is damaged.
    """
    vector = store.columns[0].name
    names = {name: target_column(name) for name in (*targets, SOURCE)}
    columns = ["key", "name", vector, *names.values()]
    with plain_errors(store.path):
        tables = ask(store.dataset, vector, unit, count, probes=probes, columns=columns)
    answers = []
    for table in tables:
        hits = []
        for row in table.drop_columns([vector]).to_pylist():
            told = {name: row[column] for name, column in names.items()}
            source = told.pop(SOURCE) or ""
            hits.append(Hit(row["key"], row["name"], source, 1 - row["_distance"] / 2, told))
        answers.append((hits, vectors_of(table[vector])))
    return answers


def plain(values: Values) -> list[str | float | None]:
    """A store's values, None where missing."""
    if isinstance(values, Tensor):
        return [None if math.isnan(value) else value for value in values.tolist()]
    return list(values)
