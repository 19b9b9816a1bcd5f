"""Batches decoded and prepared in worker processes while the network computes.

Workers are started by a fork server, a process that has imported what they need and has no threads
of its own. A plain fork of this process would copy the locks of torch's, Arrow's and the store's
threads in whatever state they are in, and may hang; starting each worker anew would import torch
once per worker. The user's own script is not imported again in the workers unless the loader or the
preparation is defined in it, so scripts need no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import types
import warnings
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, final

from layerwise.data import _worker
from layerwise.data._samples import Samples, SetAside
from layerwise.errors import LayerwiseError

_READY = 2
_WORTH_STARTING = 500


@final
@dataclass(frozen=True)
class Batch:
    """Samples ready for the network, and those that were set aside on the way.

    Args:
        indices: places in the samples of what was prepared.
        prepared: what `prepare` made of each of them, in the same order.
        set_aside: the rest of the planned batch, with reasons.
    """

    indices: tuple[int, ...]
    prepared: list[Any]
    set_aside: tuple[SetAside, ...]


def batches(
    samples: Samples,
    prepare: Callable[[Any], Any],
    plan: Sequence[Sequence[int]],
    *,
    workers: int | None = None,
) -> Generator[Batch, None, None]:
    """Load and prepare samples batch by batch, in the order of the plan.

    At most two batches more than there are workers are under way. Closing the generator, or an
    error or Ctrl-C in it, ends the workers.

    Args:
        samples: where to load from.
        prepare: turns one sample into a tensor or a dict of tensors, as `Network.prepare` does.
        plan: the indices of each batch.
        workers: number of worker processes; 0 works in this process, None chooses.

    Raises:
        LayerwiseError: a worker process died, or the preparation cannot be sent to one.

    Example:
        >>> import torch
        >>> from layerwise.data import open
        >>> samples = open(torch.arange(6.0).view(3, 2))
        >>> [batch.indices for batch in batches(samples, torch.sum, [[2, 0], [1]])]
        [(2, 0), (1,)]
    """
    count = _processes(samples, prepare, plan) if workers is None else workers
    if count == 0:
        return _here(samples, prepare, plan)
    return _elsewhere(samples, prepare, plan, count)


def _here(
    samples: Samples, prepare: Callable[[Any], Any], plan: Sequence[Sequence[int]]
) -> Generator[Batch, None, None]:
    for indices in plan:
        loaded = [_worker.load(samples.loader, prepare, samples.items[i]) for i in indices]
        yield _batch(samples, indices, loaded)


def _elsewhere(
    samples: Samples, prepare: Callable[[Any], Any], plan: Sequence[Sequence[int]], count: int
) -> Generator[Batch, None, None]:
    tools = _pickled(samples.loader, prepare)
    context = multiprocessing.get_context(_start_method())
    modules = {_worker.__name__, "PIL.Image", samples.loader.__module__, prepare.__module__}
    pool = ProcessPoolExecutor(count, context, _worker.start, (tools,))
    ahead: deque[tuple[Sequence[int], Future[_worker.Packed]]] = deque()
    indices: Sequence[int] = ()
    try:
        for indices in plan:
            items = [samples.items[i] for i in indices]
            with _starting_workers(modules, import_script=b"__main__" in tools):
                ahead.append((indices, pool.submit(_worker.work, items)))
            if len(ahead) == count + _READY:
                yield _arrived(samples, *ahead.popleft())
        while ahead:
            yield _arrived(samples, *ahead.popleft())
    except BrokenProcessPool:
        raise LayerwiseError(
            f"a worker process died while reading samples up to {samples.names[indices[-1]]!r}: it "
            "was killed, perhaps for want of memory; take fewer workers, or workers=0 to work in "
            "this process"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _arrived(samples: Samples, indices: Sequence[int], future: Future[_worker.Packed]) -> Batch:
    """Wait for a batch."""
    try:
        return _batch(samples, indices, _worker.unpack(future.result()))
    except (ImportError, AttributeError) as error:
        raise LayerwiseError(
            f"a worker process cannot import the loader or the preparation ({error}); put them in "
            "a module that can be imported, or give workers=0"
        ) from None


def _batch(samples: Samples, indices: Sequence[int], loaded: Sequence[_worker.Outcome]) -> Batch:
    pairs = list(zip(indices, loaded, strict=True))
    return Batch(
        tuple(int(i) for i, (_, reason) in pairs if not reason),
        [prepared for _, (prepared, reason) in pairs if not reason],
        tuple(SetAside(samples.names[i], reason) for i, (_, reason) in pairs if reason),
    )


def _processes(
    samples: Samples, prepare: Callable[[Any], Any], plan: Sequence[Sequence[int]]
) -> int:
    """Number of workers that pay.

    None where there is little to decode, and none on two cores: there the network's own threads
    need both, and starting workers costs seconds.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    total = sum(len(indices) for indices in plan)
    if samples.modality != "image" or total < _WORTH_STARTING or cores <= 2:
        return 0
    try:
        tools = _pickled(samples.loader, prepare)
    except LayerwiseError as error:
        warnings.warn(f"decoding in this process only: {error}", stacklevel=3)
        return 0
    if b"__main__" in tools:
        warnings.warn(
            "decoding in this process only: the preparation is defined in the script itself; "
            "move it to a module, or give workers= to import the script in each worker",
            stacklevel=3,
        )
        return 0
    return min(cores - 1, 16, len(plan))


def _pickled(loader: Callable[[Any], Any], prepare: Callable[[Any], Any]) -> bytes:
    try:
        return pickle.dumps((loader, prepare))
    except Exception as error:
        raise LayerwiseError(
            f"the loader or the preparation cannot be sent to a worker process ({error}); "
            "define it at the top of a module, or give workers=0"
        ) from None


def _start_method() -> str:
    methods = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in methods else "spawn"


@contextlib.contextmanager
def _starting_workers(modules: Collection[str | None], *, import_script: bool) -> Iterator[None]:
    """Let processes started here ignore Ctrl-C, and import this module instead of the script.

    Ctrl-C reaches every process of a terminal; only the one that can tell the user should act.
    A blocked signal stays blocked in the processes that are started meanwhile.
    """
    script = sys.modules["__main__"]
    unix = _start_method() == "forkserver"
    if unix:
        preload = [name for name in modules if name not in (None, "__main__")]
        multiprocessing.set_forkserver_preload(sorted(preload))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if not import_script:
            sys.modules["__main__"] = types.ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = script
        if unix:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
