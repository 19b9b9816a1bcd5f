"""One number of threads for every library in the process, and never more than there are cores.

The libraries count the machine's cores for themselves. In a container that may use two of 64 they
start 64 threads, which wait for each other. They read their settings once, when they are loaded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from layerwise.errors import LayerwiseError

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def settle_threads() -> int:
    """Set the thread counts of all libraries; call it before torch is imported.

    `LAYERWISE_THREADS` goes first, then what is set for a library, then the usable cores.

    Returns:
        The number of threads.

    Raises:
        LayerwiseError: `LAYERWISE_THREADS` is not a positive number.
    """
    wish = os.environ.get("LAYERWISE_THREADS", "")
    if wish and not (wish.isdecimal() and int(wish)):
        raise LayerwiseError(f"LAYERWISE_THREADS is {wish!r}; it must be a whole number from 1")
    threads = int(wish) if wish else usable_cores()
    for name in _SETTINGS:
        if wish or name not in os.environ:
            os.environ[name] = str(threads)
    return threads


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may use, by its affinity and its container's quota.

    Args:
        quota: the control group's file that says `MICROSECONDS PERIOD` or `max PERIOD`.

    Example:
        >>> usable_cores() >= 1
        True
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    limit, _, period = quota.read_text().partition(" ") if quota.exists() else ("max", "", "")
    return cores if limit == "max" else max(1, min(cores, -(-int(limit) // int(period))))
