"""An atlas on disk: `atlas.json` with all of it, and the same tables as Parquet.

The JSON is plain and has one row per line, so that people, `grep` and any language can read it.
Every file is written beside its place and then moved there in one step: a reader finds the old file
or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerwise.atlas._atlas import Atlas
from layerwise.atlas._comparison import Comparison
from layerwise.atlas._parquet import tables
from layerwise.atlas._plain import WrongShape, from_plain, to_plain
from layerwise.errors import LayerwiseError

FORMAT = 1
"""The version of `atlas.json` that is written, and the newest that is read."""

_NAME = "atlas.json"


def save(atlas: Atlas, folder: str | Path) -> Path:
    """Write `atlas.json`, and its tables as `tables/*.parquet`.

    The tables are `layers`, `scores`, `candidates`, `choices`, `controls`, `collapse`, `language`
    and `similarity`, the last one with one row per pair of layers.

    Args:
        atlas: what to write.
        folder: where to; it is made if it is not there.

    Returns:
        The path of `atlas.json`.

    Raises:
        LayerwiseError: the folder cannot be written.

    Example:
        >>> from layerwise.atlas._atlas import Provenance
        >>> made = Provenance("layerwise atlas", "today", {}, {}, (0,), "photos", "", 0, {}, {})
        >>> atlas = Atlas(FORMAT, made, *[()] * 13)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save(atlas, folder)
        ...     load(folder) == atlas
        True
    """
    folder = Path(folder)
    for name, content in tables(atlas):
        write_whole(folder / "tables" / f"{name}.parquet", content)
    # File names need not be UTF-8; what cannot be encoded becomes JSON's own escape, as in \udcff.
    text = "".join(_lines(to_plain(atlas)))
    write_whole(folder / _NAME, text.encode("utf-8", "backslashreplace"))
    return folder / _NAME


def save_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write `comparison.json`.

    Args:
        comparison: what to write.
        folder: where to; it is made if it is not there.

    Returns:
        The path of the file.

    Raises:
        LayerwiseError: the folder cannot be written.
    """
    text = "".join(_lines(to_plain(comparison)))
    path = Path(folder) / "comparison.json"
    write_whole(path, text.encode("utf-8", "backslashreplace"))
    return path


def load(folder: str | Path) -> Atlas:
    """Read the atlas that `save` wrote, equal to the one that was given to it.

    Args:
        folder: the folder with `atlas.json`.

    Raises:
        LayerwiseError: there is no atlas, it is damaged, or a newer layerwise wrote it.
    """
    path = Path(folder) / _NAME
    try:
        plain = json.loads(path.read_bytes())
    except OSError as error:
        raise LayerwiseError(
            f"{path} cannot be read ({error.strerror}): give a folder that `layerwise atlas` wrote"
        ) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    number = plain.get("format") if isinstance(plain, dict) else None
    if type(number) is not int:
        raise _damaged(path, "it has no format number")
    if number > FORMAT:
        raise LayerwiseError(
            f"{path} has format {number} and this layerwise reads up to {FORMAT}: "
            "a newer one wrote it, install that (pip install -U layerwise)"
        )
    try:
        return from_plain(Atlas, plain, "atlas")
    except WrongShape as error:
        raise _damaged(path, str(error)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: it appears whole, or not at all.

    Args:
        path: where to; its folder is made if it is not there.
        content: all of it.

    Raises:
        LayerwiseError: the folder cannot be written or is full.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "new" / "a.txt", b"all")
        ...     (Path(folder) / "new" / "a.txt").read_bytes()
        b'all'
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            Path(draft).chmod(0o644)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LayerwiseError(
            f"{path} cannot be written ({error.strerror}): free some space or choose another folder"
        ) from error


def _damaged(path: Path, why: str) -> LayerwiseError:
    return LayerwiseError(
        f"{path} is damaged ({why}): run the survey again over this folder, features are reused"
    )


def _lines(plain: dict[str, Any]) -> Iterator[str]:
    """The JSON, with one line per row of a table and per entry of anything else."""
    before = "{\n"
    for name, value in plain.items():
        yield f"{before}{_text(name)}: "
        before = ",\n"
        if isinstance(value, list) and value:
            yield "[\n" + ",\n".join(map(_text, value)) + "\n]"
        elif isinstance(value, dict):
            yield "{\n" + ",\n".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "\n}"
        else:
            yield _text(value)
    yield "\n}\n"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
