"""The flags that mean the same in every command that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        help="Folder of pictures or zip of one, table (csv, tsv, jsonl, parquet), text file (txt), "
        "array (npy, npz), or what is built in: photos, stdlib."
    ),
]
Network = Annotated[str, typer.Argument(help="Network, named as `layerwise networks` says.")]
Networks = Annotated[
    list[str], typer.Option("--network", "-n", help="Network; atlas takes several.")
]
OneNetwork = Annotated[str, typer.Option("--network", "-n", help="Network; atlas takes several.")]
TARGET = "What to read off, or the class to explain; atlas takes several."
LAYER = "Address of a layer, or a pattern where several are shown."
THRESHOLD = "Least cosine of copies (found by trying without it), or least share of a traced part."
Targets = Annotated[list[str] | None, typer.Option("--target", "-t", help=TARGET)]
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        "-l",
        help="Address or pattern: `blocks`, `all`, `blocks[3:9]`; `auto` where one is chosen.",
    ),
]
PathColumn = Annotated[
    str | None, typer.Option("--path-column", help="Column of a table that holds paths.")
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column of a table that holds texts.")
]
SplitColumn = Annotated[
    str | None, typer.Option("--split-column", help="Column that says train, validation or test.")
]
GroupColumn = Annotated[
    str | None, typer.Option("--group-column", help="Column of what stays on one side of a split.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Start of all randomness.")]
Device = Annotated[str, typer.Option("--device", help="`auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Use only so many samples, drawn at random.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; notes go to standard error.")
]
IndexFolder = Annotated[Path, typer.Argument(help="Folder that `layerwise index` has made.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="How many items to find.")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Also write a page with pictures to this file.")
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Where the result goes: a folder, or a file where the command writes one.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Samples in a forward; without it, chosen."),
]
BudgetMs = Annotated[
    float | None, typer.Option("--budget-ms", min=0, help="Most milliseconds for one sample alone.")
]
BudgetMb = Annotated[
    float | None, typer.Option("--budget-mb", min=0, help="Most megabytes of parameters.")
]
