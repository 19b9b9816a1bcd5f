"""How far a long job is, and how long each of its stages took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`."""


@final
class Clock:
    """Tells the progress, and adds up how long each stage took."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, done: int = 0, total: int = 1) -> Iterator[None]:
        """Time what happens inside."""
        if self.progress is not None and total > 0:
            self.progress(name, done, total)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
        if self.progress is not None:
            self.progress(name, done + 1, total)
