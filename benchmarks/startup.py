"""What it costs to begin: importing the library, and the commands that need no network.

    python benchmarks/startup.py [--rounds 9]

Each row is the median of new processes, run in turn, beside an empty Python program.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

_MAIN = "from layerwise.cli import main; main()"
PROGRAMS = {
    "empty program": ("pass",),
    "import layerwise": ("import layerwise",),
    "layerwise --version": (_MAIN, "--version"),
    "layerwise list": (_MAIN, "list"),
    "layerwise list --search": (_MAIN, "list", "--search", "similarity of layers"),
    "import torch": ("import torch",),
}


def seconds(program: tuple[str, ...]) -> float:
    """Time of one process, start and end included."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", *program], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Run all programs in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            found[name].append(seconds(program))
    empty = statistics.median(found["empty program"])
    table = Table("program", "seconds", "beyond an empty program")
    for name, times in found.items():
        middle = statistics.median(times)
        table.add_row(name, f"{middle:.3f}", f"{middle - empty:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
