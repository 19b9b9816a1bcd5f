"""One thread does all the work, and joins what waits.

A network, an index in memory and Pillow's settings are not made for several threads at once, and
on a CPU a second forward beside the first only slows both. So requests queue up. Whatever waits for
the same work when the thread is free is done in one go: a forward of several requests costs hardly
more than that of one, and no request waits for others to come.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, final

Work = Callable[[Sequence[Any]], Sequence[Any]]
"""From items to as many results, in the same order."""


@final
@dataclass(frozen=True)
class _Job:
    work: Work
    items: Sequence[Any]
    future: Future[Sequence[Any]]


@final
class Bench:
    """Does work in one thread of its own.

    Args:
        most: items that are joined.

    Example:
        >>> bench = Bench(8)
        >>> asyncio.run(bench.do(sorted, [2, 1]))
        [1, 2]
        >>> bench.close()
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: work that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="bench", daemon=True)
        self._thread.start()

    async def do(self, work: Work, items: Sequence[Any]) -> Sequence[Any]:
        """Do the work when its turn has come; errors come back as they are.

        Args:
            work: the same function is joined.
            items: what to do it to.
        """
        job = _Job(work, items, Future())
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        # Whoever stops waiting cancels the job, if it has not begun.
        return await asyncio.wrap_future(job.future)

    def close(self, seconds: float = 5.0) -> None:
        """Finish what is under way and end the thread.

        Args:
            seconds: to wait for it.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while jobs := self._next():
            _do([job for job in jobs if job.future.set_running_or_notify_cancel()])

    def _next(self) -> list[_Job]:
        """The job that has waited longest, with those after it that do the same."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            jobs = [self._waiting.popleft()]
            room = self.most - len(jobs[0].items)
            while self._waiting and self._waiting[0].work == jobs[0].work:
                room -= len(self._waiting[0].items)
                if room < 0:
                    break
                jobs.append(self._waiting.popleft())
            return jobs


def _do(jobs: Sequence[_Job]) -> None:
    if not jobs:
        return
    try:
        results = jobs[0].work([item for job in jobs for item in job.items])
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
        else:  # one of them is at fault; the others shall not pay
            for job in jobs:
                _do([job])
        return
    start = 0
    for job in jobs:
        job.future.set_result(results[start : start + len(job.items)])
        start += len(job.items)
