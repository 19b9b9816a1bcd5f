"""The Lance side of a feature store: datasets, tables and commits, each in one place.

A dataset carries the recipe in its schema's metadata. Features are appended or deleted and never
changed; names and targets are rewritten in one commit that leaves the files of the features alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._recipe import Column, Recipe, without_dots

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

Values = Tensor | Sequence[str | None]
"""Numbers `[n]` with NaN where missing, or `n` words with None where missing."""

PRIVATE = "_layerwise"
"""Folder inside the dataset's own, for an extraction that is under way."""

READ_AHEAD = 16 << 20
"""Bytes that may wait to be decoded; Lance alone would read 2 GB ahead."""

_FORMAT = 1
_LEFT_OVERS = {PRIVATE, "data", "_transactions", "_versions"}
_FILE_BYTES = 256 << 20
_BATCH_BYTES = 16 << 20
_ROWS_AT_ONCE = 256  # each of Lance's threads keeps the memory of what it decodes at a time
_DELETED_AT_ONCE = 10_000


def open_dataset(folder: Path) -> lance.LanceDataset | None:
    """Open a dataset; None where there is nothing, or only what an unfinished start has left.

    Raises:
        LayerwiseError: there is something else.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise LayerwiseError(f"{str(folder)!r} is a file, but a feature store is a folder")
    if not any((folder / "_versions").glob("*.manifest")):
        if other := sorted(p.name for p in folder.iterdir() if p.name not in _LEFT_OVERS):
            raise LayerwiseError(
                f"the folder {str(folder)!r} is no feature store, and not empty: it holds "
                f"{other[0]!r}; choose a new or empty folder"
            )
        return None
    import lance

    return lance.dataset(str(folder))


def make_dataset(folder: Path, recipe: Recipe) -> lance.LanceDataset:
    """Make a dataset without rows, or take one over that has none. Only the writer may do so."""
    import lance
    import pyarrow as pa

    number = pa.type_for_alias(recipe.dtype)
    fields = [pa.field("key", pa.string(), nullable=False), pa.field("name", pa.string())]
    fields += [pa.field(c.name, pa.list_(number, c.width), nullable=False) for c in recipe.columns]
    metadata = {"layerwise": recipe.to_json(), "layerwise_format": str(_FORMAT)}
    empty = pa.schema(fields, metadata).empty_table()
    there = open_dataset(folder)
    if there is not None and there.count_rows():
        raise LayerwiseError(
            f"another process has just filled the store {str(folder)!r}; try again"
        )
    return lance.write_dataset(empty, str(folder), mode="create" if there is None else "overwrite")


def recipe_of(dataset: lance.LanceDataset, folder: Path) -> Recipe:
    """Read what a dataset was made with.

    Raises:
        LayerwiseError: somebody else's dataset, or a newer format.
    """
    metadata = dataset.schema.metadata or {}
    if b"layerwise" not in metadata:
        raise LayerwiseError(
            f"the Lance dataset {str(folder)!r} is no feature store; choose another folder"
        )
    if (written := int(metadata[b"layerwise_format"])) > _FORMAT:
        raise LayerwiseError(
            f"the store {str(folder)!r} was written by a newer layerwise (format {written}, this "
            f"one reads up to {_FORMAT}); update layerwise"
        )
    try:
        return Recipe.from_json(metadata[b"layerwise"].decode())
    except (KeyError, TypeError) as error:
        raise ValueError(f"its recipe is incomplete: {error}") from error


def target_column(name: str) -> str:
    """Column of a target."""
    return f"target:{without_dots(name)}"


def target_names(dataset: lance.LanceDataset) -> tuple[str, ...]:
    """Targets of a dataset, by the names people know."""
    columns = [field.name for field in dataset.schema if field.name.startswith("target:")]
    names = [column.removeprefix("target:") for column in columns]
    return tuple(name.replace("%2E", ".").replace("%25", "%") for name in names)


def table_of(
    dataset: lance.LanceDataset, labels: Mapping[str, Values], features: Mapping[Column, Tensor]
) -> pa.Table:
    """Rows for a dataset, without copying the features; labels that are not given are missing."""
    import pyarrow as pa

    columns = {name: _array(values) for name, values in labels.items()}
    for column, values in features.items():
        flat = pa.array(values.contiguous().view(-1).numpy())
        columns[column.name] = pa.FixedSizeListArray.from_arrays(flat, column.width)
    rows = len(columns["key"])
    arrays = [columns.get(f.name, pa.nulls(rows, f.type)) for f in dataset.schema]
    return pa.table(arrays, schema=dataset.schema)


def append_rows(dataset: lance.LanceDataset, table: pa.Table) -> lance.LanceDataset:
    """Append rows in one commit."""
    import lance

    return lance.write_dataset(table, dataset, mode="append")


def delete_rows(dataset: lance.LanceDataset, keys: Sequence[str]) -> None:
    """Delete the rows of some keys, `_DELETED_AT_ONCE` of them in a commit."""
    for start in range(0, len(keys), _DELETED_AT_ONCE):
        part = (key.replace("'", "''") for key in keys[start : start + _DELETED_AT_ONCE])
        dataset.delete("key IN ('" + "', '".join(part) + "')")


def relabel(dataset: lance.LanceDataset, labels: Mapping[str, Values]) -> int:
    """Bring names and targets of the given keys up to date; the number of rows that changed.

    First a column is made for what is new, then all values change in one commit: whenever this is
    interrupted, values are the old ones, or missing, but never mixed up.
    """
    import lance
    import pyarrow as pa

    wanted = pa.table({name: _array(values) for name, values in labels.items()})
    there = {field.name: field.type for field in dataset.schema}
    if other := [f.name for f in wanted.schema if there.get(f.name, f.type) != f.type]:
        dataset.drop_columns(other)
    if new := [f for f in wanted.schema if f.name not in there or f.name in other]:
        dataset.add_columns(pa.schema(new))
    changed = _changed(dataset.to_table(columns=wanted.column_names), wanted)
    if len(changed):
        updated = [part.update_columns(changed, "key") for part in dataset.get_fragments()]
        update = lance.LanceOperation.Update(
            updated_fragments=[fragment for fragment, _ in updated],
            fields_modified=sorted({field for _, fields in updated for field in fields}),
            update_mode="rewrite_columns",
        )
        lance.LanceDataset.commit(dataset, update, read_version=dataset.version)
        dataset.checkout_latest()
    return len(changed)


def compact(dataset: lance.LanceDataset, row_bytes: int, spare: timedelta) -> None:
    """Join small files into large ones, then delete old versions and what no version needs."""
    dataset.optimize.compact_files(
        target_rows_per_fragment=max(1024, _FILE_BYTES // row_bytes),
        # Copying pages as they are takes a fifth of the time and a twentieth of the memory.
        compaction_mode="try_binary_copy",
        num_threads=1,
    )
    dataset.cleanup_old_versions(older_than=spare, delete_unverified=True)


def rows_at_once(row_bytes: int) -> int:
    """How many rows to read at a time, so that memory stays small however wide they are."""
    return max(1, min(_ROWS_AT_ONCE, _BATCH_BYTES // row_bytes))


def _array(values: Values) -> pa.Array:
    import pyarrow as pa

    if isinstance(values, Tensor):
        return pa.array(values.double().numpy(), pa.float64(), from_pandas=True)
    return pa.array(list(values), pa.string())


def _changed(there: pa.Table, wanted: pa.Table) -> pa.Table:
    """The rows of `wanted` whose key is there, with something else."""
    import pyarrow as pa

    columns = wanted.column_names
    old = dict(zip(there["key"].to_pylist(), _rows(there, columns), strict=True))
    new = zip(wanted["key"].to_pylist(), _rows(wanted, columns), strict=True)
    changed = [old.get(key, row) != row for key, row in new]
    return wanted.filter(pa.array(changed, pa.bool_()))


def _rows(table: pa.Table, columns: Sequence[str]) -> list[tuple[str | float | None, ...]]:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
