"""Keeps what a benchmark measured: one JSON file, and a table drawn from it in README.md."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, str | float | None]
"""A row of a table, by the titles of its columns."""

_HERE = Path(__file__).parent


def machine(*packages: str) -> dict[str, Any]:
    """What a number depends on, before the work begins: cores, load, versions."""
    names = ("torch", "numpy", "timm", "transformers", *packages)
    return {
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "load average at start": [round(load, 2) for load in os.getloadavg()],
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
    }


def keep(name: str, facts: dict[str, Any], rows: Sequence[Row], details: dict[str, Any]) -> str:
    """Write `results/NAME.json`, and its table between the marks of that name in README.md.

    Args:
        name: of the benchmark.
        facts: what `machine` gave at the start.
        rows: the table.
        details: everything else that was measured.

    Returns:
        The table in Markdown.
    """
    folder = _HERE / "results"
    folder.mkdir(exist_ok=True)
    held = {"machine": facts, "rows": list(rows), "details": details}
    (folder / f"{name}.json").write_text(json.dumps(held, indent=1) + "\n")
    table = _markdown(rows, facts)
    page = _HERE / "README.md"
    marks = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    page.write_text(marks.sub(lambda found: found[1] + table + found[2], page.read_text()))
    return table


def kept(name: str) -> dict[str, Any]:
    """What the last run of a benchmark kept: `machine`, `rows` and `details`."""
    held: dict[str, Any] = json.loads((_HERE / "results" / f"{name}.json").read_text())
    return held


def resident(field: str, *, afresh: bool = False) -> float:
    """Megabytes of this process: now (`VmRSS`), or at most since last asked afresh (`VmHWM`)."""
    if afresh:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed is no part of the next
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    titles = list(rows[0])
    lines = [titles, ["---" if title == titles[0] else "--:" for title in titles]]
    lines += [[_cell(row.get(title)) for title in titles] for row in rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    load = facts["load average at start"][0]
    return (
        f"{table}\n{facts['cores']} cores ({facts['processor']}), threads: {facts['threads']}, "
        f"torch {facts['torch']}, load average {load} at the start.\n"
    )


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", listed.read_text()) if listed.exists() else None
    return found[1] if found else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
