"""Keeps memory that torch has freed, instead of handing it back to the system after every layer.

By default glibc maps each large tensor anew and unmaps it when it dies. On a CPU a network then
touches every page of every activation for the first time, batch after batch, and spends much of its
time in the kernel: EfficientNet-Lite0 more than half of it. Three settings make glibc reuse what it
has. The peak memory stays the same; it is only not returned between two batches.

The settings hold for the whole process, so that only a program may make them, never a library on
import. They act on what is allocated later: call this before torch is imported.
"""

from __future__ import annotations

import ctypes
import os
import platform

# The numbers of the parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory; does nothing elsewhere or where `LAYERWISE_MALLOC=0` is set.

    Returns:
        Whether the allocator was changed.

    Example:
        >>> os.environ["LAYERWISE_MALLOC"] = "0"
        >>> keep_freed_memory()
        False
        >>> del os.environ["LAYERWISE_MALLOC"]
    """
    if os.environ.get("LAYERWISE_MALLOC") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 * 2**20))
    done = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(done)
