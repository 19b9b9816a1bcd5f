"""The user's cache: one folder per converted network, either whole or not there.

A folder is made beside its place under a temporary name and renamed into it, so that two processes
at once, or one that is killed, leave nothing half done. A record of every file's size and SHA-256
goes with it and is checked whenever the folder is used: what is damaged is made again, and said.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from layerwise.errors import LayerwiseError

_RECORD = "record.json"
_TEMPORARY = ".making-"
_A_DAY = 86_400.0


def cache_folder() -> Path:
    """`$LAYERWISE_CACHE`, else `$XDG_CACHE_HOME/layerwise`, else `~/.cache/layerwise`."""
    if own := os.environ.get("LAYERWISE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "layerwise"


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder of that name; `make` fills it where it is missing or damaged.

    Args:
        name: name of the folder within the cache.
        make: writes the files into the empty folder it is given.

    Raises:
        LayerwiseError: the cache cannot be written.
    """
    home = cache_folder() / name
    if home.is_dir():
        harm = _damage(home)
        if not harm:
            return home
        warnings.warn(f"the cached {name} is damaged ({harm}); it is made again", stacklevel=2)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        _sweep(home.parent)
        with TemporaryDirectory(dir=home.parent, prefix=_TEMPORARY) as temporary:
            fresh = Path(temporary) / "fresh"
            fresh.mkdir()
            make(fresh)
            _seal(fresh)
            _put(fresh, home, Path(temporary))
    except OSError as error:
        raise LayerwiseError(
            f"{name} cannot be kept in {home.parent}: {error.strerror or error}; make room there, "
            "or let LAYERWISE_CACHE name another folder"
        ) from error
    return home


def _put(fresh: Path, home: Path, temporary: Path) -> None:
    for attempt in range(100):
        try:
            fresh.rename(home)
        except OSError:
            if attempt == 99:
                raise
            if home.is_dir() and not _damage(home):
                return  # Another process was faster, and its files are as good as these.
            with contextlib.suppress(FileNotFoundError):
                home.rename(temporary / f"old-{attempt}")
        else:
            return


def _seal(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    record = {p.relative_to(folder).as_posix(): [p.stat().st_size, _sha256(p)] for p in files}
    (folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _damage(folder: Path) -> str:
    """What is wrong with a kept folder, or an empty string."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        for name, (size, digest) in record.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if _sha256(path) != digest:
                return f"{name} has other contents than were written"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{_RECORD} cannot be read: {type(error).__name__}"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind, a day later."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _A_DAY:
                shutil.rmtree(left, ignore_errors=True)
