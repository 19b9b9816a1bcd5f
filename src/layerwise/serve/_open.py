"""Tells by its files what a folder is, and opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from layerwise.atlas import load_reader
from layerwise.errors import LayerwiseError
from layerwise.serve._atlas import AtlasService
from layerwise.serve._index import IndexService
from layerwise.serve._reader import ReaderService
from layerwise.serve._service import Service

Progress = Callable[[str, int, int], None]


def opened(folder: Path, device: str, progress: Progress | None) -> Service:
    """What a folder holds, ready to answer.

    Args:
        folder: of a reader, an atlas or an index.
        device: where the network goes.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: it is none of these, or it cannot be opened.
    """
    if (folder / "reader.json").is_file():
        return _reader(folder, device)
    if (folder / "atlas.json").is_file():
        return AtlasService.open(folder, device, progress)
    if (folder / "index.json").is_file():
        return IndexService.open(folder, device)
    raise LayerwiseError(
        f"{str(folder)!r} holds no reader.json, atlas.json or index.json; give a folder that "
        "`layerwise fit`, `layerwise atlas` or `layerwise index` wrote"
    )


def _reader(folder: Path, device: str) -> ReaderService:
    reader = load_reader(folder, device=device)
    if reader.feed.modality == "tensor":
        raise LayerwiseError(
            f"the reader {str(folder)!r} reads tensors; only readers of pictures and of texts can "
            "be served"
        )
    return ReaderService(reader, reader.feed.modality)
