"""Tables on disk become columns of plain values. A row that cannot be read is set aside.

CSV needs a header line; its separator (comma, semicolon, tab or bar) is the one that comes most
often there. CSV and JSONL must be UTF-8: bytes that are not stay visible in a text as lone
surrogates, by which the row is recognised and set aside when it is used.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from layerwise.data._samples import SetAside
from layerwise.errors import LayerwiseError

_LARGEST_CELL = 1 << 30


@final
@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
        columns: values by column name; cells of CSV files are strings.
        rows: what each row is called: the line of a text file, or the row's number.
        set_aside: rows that could not be read.
        notes: columns that were left out, and why, a line each.
    """

    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[str]
    set_aside: tuple[SetAside, ...] = ()
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read a CSV, TSV, JSONL or Parquet file.

    Raises:
        LayerwiseError: it is not such a table, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = _read_parquet(path)
    elif suffix in (".csv", ".tsv"):
        table = _read_csv(path, "\t" if suffix == ".tsv" else None)
    else:
        table = _read_jsonl(path)
    if not table.rows:
        why = f"; {table.set_aside[0].name}: {table.set_aside[0].reason}" if table.set_aside else ""
        raise LayerwiseError(f"the table {path.name} has no rows{why}")
    return table


def read_utf8(path: Path) -> str:
    """The text of a file; bytes that are not UTF-8 become lone surrogates.

    Raises:
        LayerwiseError: the file cannot be read, or is no text at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayerwiseError(f"{path} cannot be read: {error.strerror}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LayerwiseError(f"{path.name} is UTF-16; save it as UTF-8")
    if b"\0" in data[:4096]:
        raise LayerwiseError(f"{path.name} is not a text file: it holds zero bytes")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def broken_utf8(text: str) -> str:
    r"""What is wrong with a text from `read_utf8`; empty where nothing is.

    Example:
        >>> broken_utf8(b"caf\xe9".decode("utf-8", "surrogateescape"))
        'not UTF-8: byte 0xe9 at character 4'
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        what = f"byte {code - 0xDC00:#04x}" if 0xDC80 <= code <= 0xDCFF else "half a character"
        return f"not UTF-8: {what} at character {error.start + 1}"
    return ""


def _read_csv(path: Path, separator: str | None) -> Table:
    text = read_utf8(path)
    header = text[: text.find("\n")] if "\n" in text else text
    separator = separator or max(",;\t|", key=header.count)
    largest = csv.field_size_limit(_LARGEST_CELL)
    try:
        return _rows_of_csv(path, text, separator)
    finally:
        csv.field_size_limit(largest)


def _rows_of_csv(path: Path, text: str, separator: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = [name.strip() for name in next(reader, [])]
    _check_names(path, names)
    cells: list[list[str]] = []
    rows, aside = [], []
    first_line = last_line = reader.line_num
    for row in reader:
        first_line, last_line = last_line + 1, reader.line_num
        if len(row) == len(names):
            cells.append(row)
            rows.append(f"line {first_line}")
        elif row:
            reason = f"it has {len(row)} cells and the header {len(names)}"
            aside.append(SetAside(f"line {first_line}", reason))
    if last_line > first_line and _quote_left_open(text, first_line, separator):
        raise LayerwiseError(
            f"{path.name}: the quote that opens in line {first_line} is never closed; "
            'double the quotes inside quoted cells ("")'
        )
    columns = {name: [row[i] for row in cells] for i, name in enumerate(names)}
    return Table(columns, rows, tuple(aside))


def _quote_left_open(text: str, line: int, separator: str) -> bool:
    rest = io.StringIO("".join(text.splitlines(keepends=True)[line - 1 :]), newline="")
    try:
        list(csv.reader(rest, delimiter=separator, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not any(names):
        raise LayerwiseError(
            f"the table {path.name} is empty; its first line must name the columns"
        )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise LayerwiseError(
            f"the first line of {path.name} must name the columns, each differently; "
            f"{name!r} stands there {times} times"
        )


def _read_jsonl(path: Path) -> Table:
    objects, rows, aside = [], [], []
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            aside.append(SetAside(f"line {number}", f"not JSON: {error}"))
            continue
        if isinstance(value, dict):
            objects.append(value)
            rows.append(f"line {number}")
        else:
            aside.append(SetAside(f"line {number}", "not a JSON object"))
    names = dict.fromkeys(name for each in objects for name in each)
    columns = {name: [each.get(name) for each in objects] for name in names}
    nested = [n for n, v in columns.items() if any(isinstance(each, (dict, list)) for each in v)]
    notes = tuple(f"column {name!r} is not used: it holds lists or objects" for name in nested)
    kept = {name: values for name, values in columns.items() if name not in nested}
    return Table(kept, rows, tuple(aside), notes)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise LayerwiseError(f"{path.name} cannot be read as Parquet: {error}") from None
    plain = [field.name for field in table.schema if _is_plain(field.type)]
    notes = tuple(
        f"column {field.name!r} is not used: it holds {field.type}"
        for field in table.schema
        if field.name not in plain
    )
    columns = {name: table.column(name).to_pylist() for name in plain}
    return Table(columns, [f"row {i + 1}" for i in range(table.num_rows)], notes=notes)


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return number or text or types.is_boolean(kind)
