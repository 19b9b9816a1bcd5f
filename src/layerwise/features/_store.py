"""Features on disk: one Lance dataset, one row per sample, one column per layer and pooling.

Rows are known by the content of their sample and appended in commits: whatever happens to the
process, a commit is there as a whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError, unknown
from layerwise.features._disk import only_writer, plain_errors
from layerwise.features._lance import (
    PRIVATE,
    READ_AHEAD,
    Values,
    append_rows,
    compact,
    delete_rows,
    make_dataset,
    open_dataset,
    recipe_of,
    relabel,
    rows_at_once,
    table_of,
    target_column,
    target_names,
)
from layerwise.features._recipe import Column, Recipe

if TYPE_CHECKING:
    import lance


@final
class Store:
    """Features of many samples on disk. Build one with `open`.

    The folder is an ordinary Lance dataset. Its columns are

    - `key`: made from the content of the sample, different for every row;
    - `name`: what people call the sample;
    - `target:NAME`: words or numbers (double), missing where unknown;
    - `LAYER:POOLING`: the layer's pooled output, a list of fixed size of float32 or float16. In the
      layer's address `/` stands for the dot, which Lance keeps for nested fields: the mean of
      `blocks.3.0` is `blocks/3/0:mean`.

    The schema's metadata hold, under `layerwise`, all that the features were made with, as JSON.
    The folder `_layerwise` inside belongs to an extraction that is under way.

    Args:
        path: the folder.
        recipe: what the features are made with.
        dataset: the open Lance dataset.

    Example:
        >>> import lance, tempfile
        >>> column = Column("blocks.3.0", "mean", width=4, layout="map", method="Mean()")
        >>> recipe = Recipe("a1b2", "Resize(224)", "float32", (column,))
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = Store.open(f"{folder.name}/birds.lance", recipe)
        >>> store.append(["k1", "k2"], ["wren.jpg", "kite.jpg"], {column: torch.eye(4)[:2]})
        >>> store.load("blocks/3/0:mean", keys=["k2"])
        tensor([[0., 1., 0., 0.]])

        The same with nothing but Lance, and the row nearest to a vector:

        >>> dataset = lance.dataset(f"{folder.name}/birds.lance")
        >>> dataset.to_table(columns=["blocks/3/0:mean"], filter="name = 'kite.jpg'").to_pylist()
        [{'blocks/3/0:mean': [0.0, 1.0, 0.0, 0.0]}]
        >>> query = {"column": "blocks/3/0:mean", "q": [0.0, 1.0, 0.0, 0.0], "k": 1}
        >>> dataset.to_table(columns=["name", "_distance"], nearest=query).to_pylist()
        [{'name': 'kite.jpg', '_distance': 0.0}]
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, recipe: Recipe, dataset: lance.LanceDataset) -> None:
        self.path = path
        self.recipe = recipe
        self._dataset = dataset
        self._rows: dict[str, int] | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], recipe: Recipe | None = None) -> Store:
        """Open a store; with a recipe, make it where there is none.

        Args:
            path: the store's folder.
            recipe: what the features are to be made with. A store without rows takes it over.

        Raises:
            LayerwiseError: there is no store, it is damaged or newer than this library, it was made
                with something else, or the folder cannot be written.
        """
        folder = Path(path)
        with plain_errors(folder):
            dataset = open_dataset(folder)
            if dataset is not None:
                store = cls(folder, recipe_of(dataset, folder), dataset)
                if recipe is not None and len(store):
                    _require_alike(folder, store.recipe, recipe)
                if recipe is None or not store.recipe.difference(recipe):
                    return store
            if recipe is None:
                raise LayerwiseError(
                    f"there is no feature store at {str(folder)!r}; make one with `extract`"
                )
            with only_writer(folder, folder / PRIVATE / "lock"):
                return cls(folder, recipe, make_dataset(folder, recipe))

    def __len__(self) -> int:
        return self._dataset.count_rows()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, rows={len(self)}, columns={len(self.columns)})"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every layer and pooling, in the order of the network."""
        return self.recipe.columns

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, for `values`."""
        return target_names(self._dataset)

    @property
    def dataset(self) -> lance.LanceDataset:
        """The dataset at the commit that is held; it keeps what Lance has read of its indexes."""
        return self._dataset

    def keys(self) -> tuple[str, ...]:
        """Key of every row, in the order of the rows."""
        return tuple(self._places())

    def load(self, column: Column | str, keys: Sequence[str] | None = None) -> Tensor:
        """Read one column and no other.

        Args:
            column: one of `columns`, or its name.
            keys: the samples wanted, in the order wanted; without it, every row.

        Returns:
            Features `[n d]` in the type they are stored in.

        Raises:
            LayerwiseError: there is no such column, or a key has no row.
        """
        found = _named(self.columns, column)
        rows, place = _wanted(self._places(), keys, self.path).sort()
        out = torch.empty(len(rows), found.width, dtype=getattr(torch, self.recipe.dtype))
        start = 0
        for part in self.stream(found):
            ends = torch.tensor([start, start + len(part)])
            low, high = torch.searchsorted(rows, ends).tolist()
            out[place[low:high]] = part[rows[low:high] - start]
            start += len(part)
        return out

    def stream(self, *columns: Column | str) -> Iterator[Tensor]:
        """Read columns side by side in parts `[rows d]`, in the order of the rows.

        Raises:
            LayerwiseError: there is no such column.
        """
        found = [_named(self.columns, column) for column in columns]
        size = rows_at_once(4 * sum(column.width for column in found))
        with plain_errors(self.path):
            scanner = self._dataset.scanner(
                columns=[column.name for column in found],
                batch_size=size,
                batch_readahead=1,
                io_buffer_size=READ_AHEAD,
            )
            for batch in scanner.to_batches():
                values = [batch.column(i).flatten().to_numpy() for i in range(len(found))]
                parts = zip(values, found, strict=True)
                yield torch.cat([torch.tensor(v).view(-1, c.width) for v, c in parts], 1)

    def values(self, name: str, keys: Sequence[str] | None = None) -> Values:
        """Read a target, or the names of the samples.

        Args:
            name: one of `targets`, or the word `name`.
            keys: the samples wanted, in the order wanted; without it, every row.

        Returns:
            Numbers as float64 `[n]` with NaN where missing, or `n` words with None where missing.

        Raises:
            LayerwiseError: there is no such target, or a key has no row.
        """
        if name != "name" and name not in self.targets:
            raise unknown("target", name, self.targets)
        column = name if name == "name" else target_column(name)
        with plain_errors(self.path):
            found = self._dataset.to_table(columns=[column])[column]
        values = found.take(_wanted(self._places(), keys, self.path).numpy()).to_pylist()
        if found.type == "double":
            numbers = [float("nan") if value is None else value for value in values]
            return torch.tensor(numbers, dtype=torch.float64)
        return tuple(values)

    def append(
        self,
        keys: Sequence[str],
        names: Sequence[str],
        features: Mapping[Column, Tensor],
        targets: Mapping[str, Values] | None = None,
    ) -> None:
        """Add rows in one commit: afterwards all of them are there, or none.

        Args:
            keys: `n` keys that have no row yet.
            names: `n` names.
            features: `[n d]` for every column.
            targets: `n` values for targets that `describe` has made; the others are missing.

        Raises:
            LayerwiseError: a key has a row already, or the disk is full.
        """
        rows = self._places()
        if twice := len(keys) - len(set(keys) - rows.keys()):
            raise LayerwiseError(f"{twice} of {len(keys)} samples are in the store already")
        labels = {"key": keys, "name": names, **_by_column(targets or {})}
        table = table_of(self._dataset, labels, features)
        with plain_errors(self.path):
            self._dataset = append_rows(self._dataset, table)
        rows.update(zip(keys, range(len(rows), len(rows) + len(keys)), strict=True))

    def remove(self, keys: Sequence[str]) -> int:
        """Delete rows; keys without a row are passed over, and may be appended again.

        Args:
            keys: of the rows, up to 10,000 of them in one commit.

        Returns:
            How many rows were deleted.

        Raises:
            LayerwiseError: the disk is full or the folder cannot be written.
        """
        found = list(dict.fromkeys(key for key in keys if key in self._places()))
        with plain_errors(self.path):
            delete_rows(self._dataset, found)
        self._rows = None
        return len(found)

    def refresh(self) -> bool:
        """Go on to what other processes have committed; whether there was anything."""
        before = self._dataset.version
        with plain_errors(self.path):
            self._dataset.checkout_latest()
        self._rows = self._rows if self._dataset.version == before else None
        return self._dataset.version != before

    def describe(
        self, keys: Sequence[str], names: Sequence[str], targets: Mapping[str, Values]
    ) -> int:
        """Say what samples are called and what their targets are; features stay untouched.

        Targets that are new become columns. Rows of other keys, and other targets, stay as they
        are; keys without a row are passed over.

        Returns:
            How many rows were changed.

        Raises:
            LayerwiseError: the disk is full or the folder cannot be written.
        """
        with plain_errors(self.path):
            labels = {"key": keys, "name": names, **_by_column(targets)}
            return relabel(self._dataset, labels)

    def finish(self, *, spare: timedelta = timedelta(0)) -> None:
        """Join small commits into large files and delete what no row needs any more.

        It may be interrupted and repeated at any moment, and must be called by the only writer.

        Args:
            spare: commits younger than this stay, for other processes that are reading them.

        Raises:
            LayerwiseError: the disk is full or the folder cannot be written.
        """
        with plain_errors(self.path):
            width = sum(column.width for column in self.columns)
            compact(self._dataset, row_bytes=4 * width, spare=spare)
        self._rows = None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Keep everybody else from writing, inside a `with`.

        Yields:
            The folder for files of an extraction that is under way.

        Raises:
            LayerwiseError: somebody is writing already, or the folder cannot be written.
        """
        folder = self.path / PRIVATE
        with only_writer(self.path, folder / "lock"):
            self.refresh()
            yield folder

    def _places(self) -> dict[str, int]:
        if self._rows is None:
            with plain_errors(self.path):
                keys = self._dataset.to_table(columns=["key"])["key"].to_pylist()
            self._rows = {key: row for row, key in enumerate(keys)}
        return self._rows


def _by_column(targets: Mapping[str, Values]) -> dict[str, Values]:
    return {target_column(name): values for name, values in targets.items()}


def _require_alike(folder: Path, there: Recipe, now: Recipe) -> None:
    if difference := there.difference(now):
        raise LayerwiseError(
            f"the store {str(folder)!r} was made differently: {difference}; "
            "choose another folder, or ask for what the store was made with"
        )


def _named(columns: Sequence[Column], column: Column | str) -> Column:
    named = {found.name: found for found in columns}
    name = column.name if isinstance(column, Column) else column
    if name not in named:
        raise unknown("column of the store", name, named)
    return named[name]


def _wanted(rows: Mapping[str, int], keys: Sequence[str] | None, folder: Path) -> Tensor:
    if keys is None:
        return torch.arange(len(rows))
    if lacking := [key for key in keys if key not in rows]:
        raise LayerwiseError(
            f"{len(lacking)} of {len(keys)} samples have no row in the store "
            f"{str(folder)!r} (first: {lacking[0]}); extract their features first"
        )
    return torch.tensor([rows[key] for key in keys], dtype=torch.int64)
