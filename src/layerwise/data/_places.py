"""Where files lie: a folder, or a zip that is read in place. Both read bytes by relative name."""

from __future__ import annotations

import functools
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from layerwise.data._samples import Unreadable
from layerwise.errors import LayerwiseError

MAX_BYTES = 1 << 29
"""Files above this size (512 MiB) are set aside instead of being read into memory."""

_SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@runtime_checkable
class Place(Protocol):
    """Something picklable that holds files."""

    def files(self) -> list[str]:
        """Relative names of all files with `/` between the parts, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            Unreadable: with the reason.
        """
        ...


@final
@dataclass(frozen=True)
class Folder:
    """Files below a folder of the disk. Links to folders are followed, each folder once.

    Args:
        root: path of the folder.
    """

    root: str

    def files(self) -> list[str]:
        """Relative names of all files, sorted; hidden ones are no data and are left out.

        Raises:
            LayerwiseError: a folder cannot be listed.
        """
        found: list[str] = []
        seen: set[tuple[int, int]] = set()
        for where, folders, names in os.walk(self.root, onerror=_unlisted, followlinks=True):
            status = os.stat(where)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(f for f in folders if not is_hidden(f))
            base = Path(where).relative_to(self.root)
            found += [(base / name).as_posix() for name in names if not is_hidden(name)]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """Bytes of a file; an absolute name is read where it points."""
        path = os.path.join(self.root, name)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("not an ordinary file")
            if status.st_size > MAX_BYTES:
                raise Unreadable(_too_large(status.st_size))
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise Unreadable(f"cannot be read: {(error.strerror or str(error)).lower()}") from None


@final
@dataclass(frozen=True)
class Archive:
    """Files of a zip, never unpacked: a hostile name is only a name here.

    Args:
        path: path of the zip.
    """

    path: str

    def files(self) -> list[str]:
        """Relative names of all files, sorted; hidden ones are no data and are left out."""
        names = {name for name in self._zip().namelist() if name[-1:] != "/"}
        return sorted(n for n in names if not any(is_hidden(part) for part in n.split("/")))

    def read(self, name: str) -> bytes:
        """Bytes of a member, checked against its checksum."""
        try:
            archive = self._zip()
            size = archive.getinfo(name).file_size
            if size > MAX_BYTES:
                raise Unreadable(_too_large(size))
            return archive.read(name)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise Unreadable(f"damaged in the zip: {error}") from None
        except (RuntimeError, NotImplementedError) as error:  # password, unknown compression
            raise Unreadable(f"cannot be read from the zip: {error}") from None

    def _zip(self) -> zipfile.ZipFile:
        return _opened(self.path, os.stat(self.path).st_mtime_ns, os.getpid())


def is_hidden(part: str) -> bool:
    """Whether a file or folder is the operating system's own and no data.

    Example:
        >>> is_hidden(".DS_Store"), is_hidden("__MACOSX"), is_hidden("cat.jpg")
        (True, True, False)
    """
    return (part.startswith(".") and not part.startswith("..")) or part in _SYSTEM


@functools.lru_cache(maxsize=8)
def _opened(path: str, _changed: int, _process: int) -> zipfile.ZipFile:
    # The change time and the process belong to the cache's key: the file may be written anew, and
    # a handle shared by a fork would share its position.
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise LayerwiseError(f"{path} cannot be opened as a zip: {error}") from None


def _unlisted(error: OSError) -> None:
    raise LayerwiseError(f"the folder {error.filename} cannot be listed: {error.strerror}")


def _too_large(size: int) -> str:
    return f"{size / 2**20:.0f} MiB, above the limit of {MAX_BYTES / 2**20:.0f} MiB for one file"
