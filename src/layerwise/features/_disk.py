"""Writing to a folder that may be full, read-only, or in use by another process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerwise.errors import LayerwiseError

_FULL = (28, 122)
_REFUSED = (1, 2, 13, 20, 30)

_written_here: set[tuple[int, Path]] = set()


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or Lance has to complain of into one line for the user.

    Raises:
        LayerwiseError: the disk is full, the folder cannot be written, or the store is damaged.
    """
    try:
        yield
    except LayerwiseError:
        raise
    except (OSError, ValueError) as error:
        raise LayerwiseError(_in_words(error, path)) from error


def _in_words(error: Exception, path: Path) -> str:
    # Lance ends its messages with the place in its own source, and gives the number in the text.
    message = re.sub(r"^(External error: )?(LanceError\(\w+\): )?", "", str(error).split("\n")[0])
    message = re.sub(r", \S+\.rs:\d+:\d+.*", "", message)
    named = re.search(r"os error (\d+)", message)
    number = error.errno if isinstance(error, OSError) and error.errno else named and int(named[1])
    if number in _FULL:
        return (
            f"no space left on the device of {str(path)!r}; what was committed is kept: "
            "free some space and run the same command again"
        )
    if number in _REFUSED:
        return f"cannot write to the folder {str(path)!r} ({message}); choose another one"
    return f"the store {str(path)!r} is damaged ({message}); move it away and extract again"


def write_whole(path: Path, text: str) -> None:
    """Write a file such that, whatever happens, either the old or the new text is there."""
    beside = path.with_suffix(".writing")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path, lock: Path) -> Iterator[None]:
    """Keep every other process and thread from writing to a store.

    The lock belongs to the process, not to its children, and ends with it in whatever way. Where
    the system has no such locks (Windows), other processes are not kept away.

    Raises:
        LayerwiseError: somebody is writing already.
    """
    mine = (os.getpid(), lock.resolve())
    if mine in _written_here:
        raise LayerwiseError(_taken(path, "another thread of this process"))
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        _lock_or_refuse(file.fileno(), path, lock)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _written_here.add(mine)
        try:
            yield
        finally:
            _written_here.discard(mine)


def _lock_or_refuse(number: int, path: Path, lock: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        writer = lock.read_text(encoding="utf-8") or "unknown"
        raise LayerwiseError(_taken(path, f"process {writer}")) from None


def _taken(path: Path, who: str) -> str:
    return (
        f"{who} is writing to the store {str(path)!r}; wait until it ends, or choose another folder"
    )
