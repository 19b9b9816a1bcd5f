"""A search index on disk: one vector of length 1 for each item, in a Lance dataset.

Below `exact_below` items a query is compared with all of them in memory, by one matrix product a
chunk; above, Lance's vector index answers from the disk (see `_approximate.py`). Items are added
and removed in commits: whatever happens to the process, a commit is there as a whole or not at all.
Any number of processes may search while one writes; each search sees the newest commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Column, Recipe, Store
from layerwise.features._finite import require_finite
from layerwise.features._lance import Values
from layerwise.search._approximate import Approximate, build
from layerwise.search._memory import SOURCE, Fit, Hit, Memory, near_on_disk, plain
from layerwise.search._neighbours import Neighbours
from layerwise.search._rerank import rerank

ITEMS = "items.lance"
_COMMIT = 8192
_READING = timedelta(minutes=10)
"""A search that began on a commit may go on reading it for so long."""


@final
class Index:
    """Items that are found by their vectors. Build one with `open`.

    The folder's `items.lance` is an ordinary Lance dataset with the columns `key`, `name`,
    `target:NAME` and the vectors, `search:vector`.

    Args:
        path: the folder.
        store: the vectors, in a feature store of one column.
        exact_below: from so many items on, the search is approximate.

    Example:
        >>> import tempfile, torch
        >>> folder = tempfile.TemporaryDirectory()
        >>> index = Index.open(f"{folder.name}/birds", width=4)
        >>> index.add(["k1", "k2"], ["wren", "kite"], torch.eye(4)[:2])
        2
        >>> [hit.name for hit in index.search(torch.tensor([[0.1, 0.9, 0.0, 0.0]]), count=1)[0]]
        ['kite']
        >>> index.remove(["k2"]), len(index)
        (1, 1)
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, store: Store, *, exact_below: int = 100_000) -> None:
        self.path = path
        self.store = store
        self.exact_below = exact_below
        self._memory: Memory | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        width: int | None = None,
        made_with: Recipe | None = None,
        exact_below: int = 100_000,
    ) -> Index:
        """Open an index; with a width, make it where there is none.

        Args:
            path: the index's folder.
            width: length of the vectors.
            made_with: what the vectors are made with; the columns of it are of no account.
            exact_below: from so many items on, the search is approximate.

        Raises:
            LayerwiseError: there is no index, its vectors have another length or were made with
                another network, it is damaged, or the folder cannot be written.
        """
        folder = Path(path)
        if width is None:
            if not (folder / ITEMS).exists():
                raise LayerwiseError(
                    f"there is no index at {str(folder)!r}; make one with `layerwise index`"
                )
            return cls(folder, Store.open(folder / ITEMS), exact_below=exact_below)
        told = made_with or Recipe("", "", "float32", ())
        columns = (Column("search", "vector", width, "vector", "unit length"),)
        recipe = replace(told, dtype="float32", columns=columns)
        return cls(folder, Store.open(folder / ITEMS, recipe), exact_below=exact_below)

    def __len__(self) -> int:
        self._follow()
        return len(self.store)

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, items={len(self)}, width={self.width})"

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self.store.columns[0].width

    @property
    def targets(self) -> tuple[str, ...]:
        """What is known of the items, by name."""
        return tuple(name for name in self.store.targets if name != SOURCE)

    @property
    def approximate(self) -> Approximate | None:
        """What Lance's vector index was built with; None while the search is exact."""
        return Approximate.read(self.path / "approximate.json")

    def keys(self) -> frozenset[str]:
        """Keys of all items."""
        self._follow()
        return frozenset(self.store.keys())

    def vectors(self, keys: Sequence[str]) -> Float[Tensor, "n d"]:
        """Vectors of items, in the order wanted.

        Raises:
            LayerwiseError: a key is not there.
        """
        self._follow()
        return self.store.load(self.store.columns[0], keys)

    def keys_named(self, name: str) -> tuple[str, ...]:
        """Keys of the items that people call by a name."""
        self._follow()
        pairs = zip(self.store.keys(), self.store.values("name"), strict=True)
        return tuple(key for key, called in pairs if called == name)

    def item(self, key: str) -> Hit:
        """What is known of an item, as when it finds itself.

        Raises:
            LayerwiseError: there is no such item.
        """
        if key not in self.keys():
            raise LayerwiseError(f"the index {str(self.path)!r} holds no item {key[:80]!r}")
        named = {name: plain(self.store.values(name, [key]))[0] for name in self.store.targets}
        source = str(named.pop(SOURCE, None) or "")
        return Hit(key, str(plain(self.store.values("name", [key]))[0]), source, 1.0, named)

    def keys_of(self, source: str) -> frozenset[str]:
        """Keys of the items that come from a source."""
        self._follow()
        if SOURCE not in self.store.targets:
            return frozenset()
        pairs = zip(self.store.keys(), self.store.values(SOURCE), strict=True)
        return frozenset(key for key, origin in pairs if origin == source)

    def tell(
        self,
        keys: Sequence[str],
        names: Sequence[str],
        *,
        targets: Mapping[str, Values] | None = None,
        source: str = "",
    ) -> int:
        """Bring up to date what is known of items; how many had changed. Arguments as in `add`.

        Raises:
            LayerwiseError: somebody else is writing, or the disk is full.
        """
        told = {**(targets or {}), SOURCE: [source] * len(keys)}
        with self.store.writing():
            changed = self.store.describe(keys, names, told)
        self._memory = None
        return changed

    def add(
        self,
        keys: Sequence[str],
        names: Sequence[str],
        features: Float[Tensor, "n d"],
        *,
        targets: Mapping[str, Values] | None = None,
        source: str = "",
    ) -> int:
        """Add items; of those that are there already nothing changes (see `tell`).

        Args:
            keys: `n` different keys, made from the items' content.
            names: `n` names.
            features: their vectors, of any length but 0.
            targets: `n` values for each name.
            source: where the items come from.

        Returns:
            How many are new.

        Raises:
            LayerwiseError: vectors of another width or that are not finite, keys that come twice,
                somebody else is writing, or the disk is full.
        """
        self._require_width(features)
        require_finite(features, "vectors")
        if len({len(keys), len(names), len(features)}) > 1 or len(set(keys)) < len(keys):
            raise LayerwiseError(
                f"{len(set(keys))} different keys, {len(names)} names and {len(features)} vectors; "
                "give as many of each"
            )
        told = {**(targets or {}), SOURCE: [source] * len(keys)}
        unit = nn.functional.normalize(features.detach().cpu().float(), dim=1)
        with self.store.writing():
            self.store.describe([], [], {name: _some(values, []) for name, values in told.items()})
            there = set(self.store.keys())
            new = [row for row, key in enumerate(keys) if key not in there]
            for start in range(0, len(new), _COMMIT):
                rows = new[start : start + _COMMIT]
                self.store.append(
                    [keys[row] for row in rows],
                    [names[row] for row in rows],
                    {self.store.columns[0]: unit[rows]},
                    {name: _some(values, rows) for name, values in told.items()},
                )
        self._memory = None
        return len(new)

    def remove(self, keys: Iterable[str]) -> int:
        """Take items out; keys that are not there are passed over.

        Returns:
            How many were taken out.

        Raises:
            LayerwiseError: somebody else is writing, or the disk is full.
        """
        with self.store.writing():
            removed = self.store.remove(list(keys))
        self._memory = None
        return removed

    def finish(self, *, recall: float = 0.95) -> Approximate | None:
        """Join small commits; with many items, build the approximate search and measure it.

        Args:
            recall: share of the true ten nearest that is to be found.

        Raises:
            LayerwiseError: somebody else is writing, or the disk is full.
        """
        with self.store.writing():
            self.store.finish(spare=_READING)
            if len(self.store) < self.exact_below:
                return None
            built = build(self.store.path, self.store.columns[0].name, wanted=recall)
            built.write(self.path / "approximate.json")
            return built

    def search(
        self,
        queries: Float[Tensor, "m d"],
        *,
        count: int = 10,
        first: int = 0,
        fit: Fit = Neighbours.fit,
    ) -> tuple[tuple[Hit, ...], ...]:
        """Find the items nearest to each query, best first.

        Args:
            queries: one vector each, of any length but 0.
            count: how many for each.
            first: how many of the best are reranked (see `SuperGlobalSearch`); 0 for none.
            fit: makes the search in memory that is used below `exact_below`.

        Raises:
            LayerwiseError: the index is empty or holds fewer items than `count`, the queries have
                another width or are not finite, or the index is damaged.
        """
        self._require_width(queries)
        require_finite(queries, "queries")
        unit = nn.functional.normalize(queries.detach().cpu().float(), dim=1)
        items = len(self)
        if not 1 <= count <= items:
            reason = f"the index {str(self.path)!r} holds {items} items"
            raise LayerwiseError(
                f"{reason}; ask for 1 to {items} of them, not {count}"
                if items
                else f"{reason}; add some with `layerwise index`"
            )
        wide = min(max(count, first), items)
        built = self.approximate
        found = (
            self._in_memory(unit, wide, fit)
            if items < self.exact_below
            else near_on_disk(
                self.store, self.targets, unit, wide, probes=built.probes if built else 20
            )
        )
        if first:
            found = [_reranked(query, *each) for query, each in zip(unit, found, strict=True)]
        return tuple(tuple(hits[:count]) for hits, _ in found)

    def _in_memory(self, unit: Tensor, count: int, fit: Fit) -> list[tuple[list[Hit], Tensor]]:
        if self._memory is None or self._memory.fit != fit:
            self._memory = Memory.of(self.store, self.targets, fit)
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

    def _require_width(self, vectors: Tensor) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise LayerwiseError(
                f"vectors of shape {list(vectors.shape)} do not fit the index {str(self.path)!r}, "
                f"whose vectors have {self.width} numbers; read them with the network, layers and "
                "poolings of the index"
            )

    def _follow(self) -> bool:
        """Go on to the newest commit; whether there was one."""
        newer = self.store.refresh()
        self._memory = None if newer else self._memory
        return newer


def _reranked(query: Tensor, hits: list[Hit], vectors: Tensor) -> tuple[list[Hit], Tensor]:
    scores = rerank(query[None], vectors[None])[0]
    order = scores.argsort(descending=True, stable=True).tolist()
    return [replace(hits[place], score=scores[place].item()) for place in order], vectors[order]


def _some(values: Values, rows: Sequence[int]) -> Values:
    return values[list(rows)] if isinstance(values, Tensor) else [values[row] for row in rows]
