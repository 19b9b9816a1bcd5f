"""What a command prints: results to standard output, notes and progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from layerwise.data import Samples

# A pipe has no width: whatever reads it gets whole lines.
_PIPED = 100_000

_FEW = 10

Report = Callable[[str, int, int], None]
"""Called by long work as `report(stage, done, total)`."""


def note(text: str) -> None:
    """Say something to the person at the terminal that is not part of the result."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)


def note_all(what: str, reasons: Sequence[tuple[str, str]]) -> None:
    """Note names with their reasons; of many, the first few and how many there are."""
    for name, reason in reasons[:_FEW]:
        note(f"{what} {name}: {reason}")
    if len(reasons) > _FEW:
        note(f"{what} {len(reasons) - _FEW} more")


def note_data(samples: Samples) -> None:
    """Note how many samples there are, and how their source was understood."""
    targets = ", ".join(samples.targets) or "no targets"
    note(f"{len(samples)} samples of {samples.source}: {targets}")
    for remark in samples.notes:
        note(remark)


def say(text: str) -> None:
    """Print a paragraph of the result; it wraps at spaces only, so that paths stay whole."""
    console = _console()
    lines = fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    console.print(lines, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print the whole result for a program."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def say_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a column whose title ends in `>` stands flush right.

    In a terminal the first columns wrap rather than lose letters; in a pipe nothing wraps.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in columns:
        right = title.endswith(">")
        table.add_column(
            title.rstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, markup=False, width=_PIPED)


@contextmanager
def progress() -> Iterator[Report]:
    """Show how far the present stage of long work is, where somebody can see it."""
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("")

        def report(stage: str, done: int, total: int) -> None:
            if bar.tasks[task].description != stage:
                bar.reset(task, description=stage)
            bar.update(task, completed=done, total=total or None)

        yield report


def counted(number: int) -> str:
    """A count with three digits and a letter for thousands, millions and so on.

    Example:
        >>> counted(1_234_567), counted(950), counted(0)
        ('1.23M', '950', '0')
    """
    for letter, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"
