"""The one door to data: tells by looking at it what a source is, and opens it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from layerwise.data._arrays import as_tensor, open_npy, open_npz, open_tensor
from layerwise.data._builtin import builtin
from layerwise.data._folder import open_pictures
from layerwise.data._image import MAX_PIXELS
from layerwise.data._iterable import open_iterable
from layerwise.data._places import Archive, Folder
from layerwise.data._samples import Samples
from layerwise.data._table import open_table
from layerwise.data._text import open_lines
from layerwise.errors import LayerwiseError, unknown

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def open(  # noqa: A001 - the word users expect, always written as layerwise.data.open
    source: object,
    *,
    targets: Sequence[str] | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Samples:
    """Open samples.

    A source is one of

    - a folder of pictures or a zip of one, read in place: a class per folder (target `class`), with
      folders `train`, `val` and `test` above them a given split, without folders no target;
    - a table (`.csv`, `.tsv`, `.jsonl`, `.parquet`) with a column of picture paths or of texts; all
      other columns are targets where their values allow it;
    - a text file (`.txt`), a sample per line;
    - an array or tensor `[n ...]`, in memory or as `.npy` or `.npz`;
    - a Python iterable of pictures (PIL), paths, texts, tensors or arrays, alone or as pairs
      `(sample, {target: value})`;
    - the name of a built-in set, `photos` or `stdlib`.

    What cannot be read is set aside with a reason, in `Samples.set_aside`; how a table was
    understood stands in `Samples.notes`.

    Args:
        source: see above.
        targets: names of the targets to keep, for columns perhaps with their kind as in
            `stars:number`; None takes all there are.
        path_column: column of a table that holds paths, relative to the table.
        text_column: column of a table that holds texts.
        split_column: column of a table that says `train`, `validation` or `test`.
        group_column: column of a table; rows that agree in it stay on one side of a split.
        limit: at most so many samples; classes and sides keep their shares.
        seed: chooses which samples the limit keeps.
        max_pixels: larger pictures are set aside.

    Raises:
        LayerwiseError: there is no such source, or nothing in it can be read.

    Example:
        >>> samples = open([("good", {"mood": "up"}), ("bad", {"mood": "down"})], targets=["mood"])
        >>> samples.modality, samples.load(1), samples.targets["mood"].classes
        ('text', 'bad', ('down', 'up'))
    """
    columns = (path_column, text_column, split_column, group_column)
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in _TABLES:
        return open_table(
            _existing(source),
            str(source),
            targets=targets,
            path_column=path_column,
            text_column=text_column,
            split_column=split_column,
            group_column=group_column,
            limit=limit,
            seed=seed,
            max_pixels=max_pixels,
        )
    if any(columns):
        raise LayerwiseError("columns can be named for tables only (.csv, .tsv, .jsonl, .parquet)")
    if isinstance(source, (str, Path)):
        return _open_named(source, targets=targets, limit=limit, seed=seed, max_pixels=max_pixels)
    if isinstance(source, np.ndarray):
        source = as_tensor(source, "the array")
    if isinstance(source, Tensor):
        return open_tensor(source, "the tensor", targets=targets, limit=limit, seed=seed)
    if isinstance(source, Mapping) or type(source).__name__ == "DataFrame":
        raise LayerwiseError(
            f"a {type(source).__name__} is no list of samples; write it to a .parquet or .jsonl "
            "file, or give pairs (sample, {target: value})"
        )
    if not isinstance(source, Iterable):
        raise LayerwiseError(
            f"a {type(source).__name__} is no data; give a path, an array or an iterable"
        )
    return open_iterable(source, targets=targets, limit=limit, seed=seed)


def _open_named(
    source: str | Path,
    *,
    targets: Sequence[str] | None,
    limit: int | None,
    seed: int,
    max_pixels: int,
) -> Samples:
    """Open a built-in set by its name, or a folder or file by its path."""
    for each in builtin():
        if source == each.name:
            return each.open(targets=targets, limit=limit, seed=seed)
    path, told = _existing(source), str(source)
    if path.is_dir() or path.suffix.lower() == ".zip":
        where = str(path.resolve())
        place = Folder(where) if path.is_dir() else Archive(where)
        return open_pictures(
            place, told, targets=targets, limit=limit, seed=seed, max_pixels=max_pixels
        )
    if path.suffix.lower() == ".txt":
        return open_lines(path, told, targets=targets, limit=limit, seed=seed)
    if path.suffix.lower() == ".npy":
        return open_npy(path, told, targets=targets, limit=limit, seed=seed)
    if path.suffix.lower() == ".npz":
        return open_npz(path, told, targets=targets, limit=limit, seed=seed)
    raise LayerwiseError(
        f"{told} is none of: a folder, .zip, {', '.join(_TABLES)}, .txt, .npy, .npz"
    )


def _existing(source: str | Path) -> Path:
    path = Path(source)
    if path.exists():
        return path
    names = [each.name for each in builtin()]
    if path.name != str(source) or path.suffix:
        raise LayerwiseError(
            f"there is no file or folder {source}; built in are {', '.join(names)}"
        )
    near = [each.name for each in Path().iterdir() if not each.name.startswith(".")]
    raise unknown("data set, folder or file", str(source), [*names, *sorted(near)])
