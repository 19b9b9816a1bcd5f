"""Rows to a file as they come: CSV, JSONL or Parquet, by the file's name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError

Rows = Sequence[Mapping[str, Any]]
Write = Callable[[Rows], None]

_SUFFIXES = (".csv", ".jsonl", ".parquet")


@contextmanager
def writing(path: str | Path) -> Iterator[Write]:
    """Write rows to a file while they are computed; it appears when all are there.

    Args:
        path: ends in `.csv`, `.jsonl` or `.parquet`. In CSV, lists stand as JSON.

    Raises:
        LayerwiseError: another ending, or the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     with writing(path) as write:
        ...         write([{"name": "one", "number": 1.5}])
        ...     path.read_text().split()
        ['name,number', 'one,1.5']
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise LayerwiseError(
            f"{path.name!r} does not say which kind of table to write; end it in "
            f"{', '.join(_SUFFIXES)}"
        )
    beside = path.with_name(f".{path.name}.writing")
    opened = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(beside) as write:
            yield write
        beside.replace(path)
    except OSError as error:
        raise LayerwiseError(
            f"{str(path)!r} cannot be written ({error.strerror}): choose another with --out"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        begun = False

        def write(rows: Rows) -> None:
            nonlocal begun
            if rows and not begun:
                writer.writerow(rows[0])
                begun = True
            writer.writerows([map(_cell, row.values()) for row in rows])

        yield write


@contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield lambda rows: file.writelines(
            json.dumps(row, ensure_ascii=False) + "\n" for row in rows
        )


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: list[Any] = []

    def write(rows: Rows) -> None:
        if not rows:
            return
        table = pa.Table.from_pylist([dict(row) for row in rows])
        if not writers:
            writers.append(pq.ParquetWriter(path, table.schema))
        writers[0].write_table(table)

    yield write
    if not writers:
        pq.write_table(pa.table({"name": pa.array([], pa.string())}), path)
    for writer in writers:
        writer.close()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
