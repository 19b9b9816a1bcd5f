"""The flags that mean the same in every command that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        help="Image folder or zip, table (csv, parquet, jsonl), text, array, `photos` or `docs`."
    ),
]
Network = Annotated[
    str, typer.Argument(help="Name of a starter network, `timm:NAME`, `hf:NAME` or a path.")
]
Networks = Annotated[
    list[str], typer.Option("--network", "-n", help="Network to survey; may be repeated.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="What to read off; may be repeated.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Start of all randomness.")]
Device = Annotated[str, typer.Option("--device", help="`auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Use only so many samples, drawn at random.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; notes go to standard error.")
]
