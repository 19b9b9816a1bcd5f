"""The plan of an extraction: which samples go through the network together, and in which order.

A network's output for a sample may differ in its last bits with the company it keeps in a batch. So
the batches are written down before the first is computed, and whoever goes on after an interruption
computes just the batches that the interrupted run would have computed. Rows are committed by whole
batches in the order of the plan, so the rows themselves say how far it got; only the reasons why
samples were set aside are written beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from layerwise.features._disk import write_whole

_FORMAT = 1
_NAME = "plan.json"


@final
@dataclass(frozen=True)
class Plan:
    """Batches of keys, in order.

    Args:
        batch_size: how many samples a batch was planned to have.
        batches: keys of the samples of each batch.
        done: how many of the first batches are done.
        set_aside: reasons by key for the samples of these batches that have no row.

    Example:
        >>> plan = Plan.of(["a", "b", "c", "d", "e"], 2)
        >>> plan.after({"a", "c"}).left
        (('e',),)
    """

    batch_size: int
    batches: tuple[tuple[str, ...], ...]
    done: int = 0
    set_aside: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Sequence[str], batch_size: int) -> Plan:
        """Cut keys into batches."""
        starts = range(0, len(keys), batch_size)
        return cls(batch_size, tuple(tuple(keys[i : i + batch_size]) for i in starts))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all batches."""
        return tuple(key for batch in self.batches for key in batch)

    @property
    def left(self) -> tuple[tuple[str, ...], ...]:
        """Batches that are still to be computed."""
        return self.batches[self.done :]

    def after(self, stored: Set[str]) -> Plan:
        """The plan with its first batches done, up to the last one that has a row."""
        numbers = [n for n, batch in enumerate(self.batches) if not stored.isdisjoint(batch)]
        done = numbers[-1] + 1 if numbers else 0
        lacking = [key for batch in self.batches[:done] for key in batch if key not in stored]
        reasons = {key: self.set_aside.get(key, "set aside in an earlier run") for key in lacking}
        return Plan(self.batch_size, self.batches, done, reasons)

    def write(self, folder: Path) -> None:
        """Write the plan down, whole or not at all."""
        values = {
            "format": _FORMAT,
            "batch_size": self.batch_size,
            "batches": self.batches,
            "set_aside": dict(self.set_aside),
        }
        write_whole(folder / _NAME, json.dumps(values, ensure_ascii=False))

    @classmethod
    def read(cls, folder: Path) -> Plan | None:
        """Read the plan of an interrupted run; None if there is none that can be read."""
        try:
            values = json.loads((folder / _NAME).read_text(encoding="utf-8"))
            batches = tuple(tuple(batch) for batch in values["batches"])
            found = cls(values["batch_size"], batches, 0, values["set_aside"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if values["format"] == _FORMAT else None

    @staticmethod
    def remove(folder: Path) -> None:
        """Forget the plan: all of it is done."""
        (folder / _NAME).unlink(missing_ok=True)
