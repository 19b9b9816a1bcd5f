"""`layerwise export`: a reader for programs that have neither this library nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._output import note, say, say_json, say_table

_BUILT_IN = {"image": "photos", "text": "stdlib"}


def export(
    reader: Annotated[
        Path, typer.Argument(help="Folder of a reader, as `layerwise fit` wrote it.")
    ],
    beside: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Samples to compare on, as in fit; without it what is built in."
        ),
    ] = "",
    *,
    out: option.Out,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    limit: option.Limit = 200,
    as_json: option.Json = False,
) -> None:
    """Write a reader as ONNX (NAME.onnx) or for torch.export (NAME.pt2), and compare the two."""
    from layerwise import atlas
    from layerwise import data as room
    from layerwise.atlas._plain import to_plain
    from layerwise.errors import LayerwiseError

    kinds = {".onnx": atlas.export_onnx, ".pt2": atlas.export_program}
    if out.suffix not in kinds:
        raise LayerwiseError(
            f"--out {out.name!r} does not say what to write; end it in .onnx for ONNX, or in .pt2 "
            "for a program of torch.export"
        )
    loaded = atlas.load_reader(reader)
    source = beside or _BUILT_IN.get(loaded.feed.modality, "")
    samples = None
    if source:
        samples = room.open(source, path_column=path_column, text_column=text_column, limit=limit)
    kinds[out.suffix](loaded, out)
    found = atlas.compare_export(loaded, out, samples)
    if samples is None:
        note("compared on one example; give data to compare on more")
    if as_json:
        say_json({"file": str(out), "described": str(out.with_suffix(".json"))} | to_plain(found))
        return
    columns = ("", "MB>", *(f"ms, {size}>" for size in found.batches))
    rows = (
        (name, f"{found.megabytes[i]:.2f}", *(f"{each[i]:.2f}" for each in found.milliseconds))
        for i, name in enumerate((str(reader), str(out)))
    )
    say_table(columns, rows)
    say("")
    say(
        f"{found.samples} samples: answers differ by {found.difference:.0e} at most. "
        f"{out.with_suffix('.json')} says what to do to a sample before, step by step."
    )
