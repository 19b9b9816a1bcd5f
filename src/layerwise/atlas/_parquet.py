"""The tables of an atlas as Parquet. Column types come from the dataclasses, not from the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from layerwise.atlas._atlas import Atlas, Choice, Collapse, Control, LayerRow, Score
from layerwise.atlas._candidate import Candidate
from layerwise.atlas._language_rows import LanguageRow

if TYPE_CHECKING:
    import pyarrow as pa


def tables(atlas: Atlas) -> Iterator[tuple[str, bytes]]:
    """Name and Parquet bytes of every table.

    A score inside a choice becomes columns of its own, as in `best_layer`. The similarity of all
    networks is one long table, with one row per pair of layers.

    Args:
        atlas: what to tabulate.
    """
    yield "layers", _table(LayerRow, atlas.layers)
    yield "scores", _table(Score, atlas.scores)
    yield "candidates", _table(Candidate, atlas.candidates)
    yield "choices", _table(Choice, atlas.choices)
    yield "controls", _table(Control, atlas.controls)
    yield "collapse", _table(Collapse, atlas.collapse)
    yield "language", _table(LanguageRow, [row for each in atlas.language for row in each.rows])
    yield "similarity", _similarity(atlas)


def _table(row: type, rows: Sequence[Any]) -> bytes:
    cells = [dict(_cells(item)) for item in rows]
    kinds = dict(_columns(row))
    return _written({name: [each[name] for each in cells] for name in kinds}, kinds)


def _similarity(atlas: Atlas) -> bytes:
    pairs = [
        (each.network, each.other, layer, other, value)
        for each in atlas.similarity
        for layer, values in zip(each.layers, each.values, strict=True)
        for other, value in zip(each.other_layers, values, strict=True)
    ]
    names = ("network", "other", "layer", "other_layer", "value")
    kinds = dict(zip(names, map(_arrow, (str, str, str, str, float)), strict=True))
    return _written({name: [pair[i] for pair in pairs] for i, name in enumerate(names)}, kinds)


def _columns(row: type) -> Iterator[tuple[str, pa.DataType]]:
    for name, kind in get_type_hints(row).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from ((f"{name}_{inner}", arrow) for inner, arrow in _columns(kind))
        else:
            yield name, _arrow(kind)


def _cells(row: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(row):
        value = getattr(row, field.name)
        if is_dataclass(value):
            yield from ((f"{field.name}_{inner}", cell) for inner, cell in _cells(value))
        else:
            yield field.name, value


def _arrow(kind: Any) -> pa.DataType:
    import pyarrow as pa

    if get_origin(kind) is UnionType:
        return _arrow(next(inner for inner in get_args(kind) if inner is not NoneType))
    if get_origin(kind) is tuple:
        return pa.list_(_arrow(get_args(kind)[0]))
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kind]


def _written(columns: Mapping[str, list[Any]], kinds: Mapping[str, pa.DataType]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    arrays = {name: pa.array(columns[name], type=kind) for name, kind in kinds.items()}
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue().to_pybytes()
