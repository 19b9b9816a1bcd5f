"""`layerwise compare`: two networks on the same data, which layers correspond, where they part."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, note_all, note_data, progress, say, say_json, say_table

if TYPE_CHECKING:
    from layerwise.atlas import Comparison

First = Annotated[str, typer.Argument(help="Network, named as `layerwise networks` says.")]
Second = Annotated[str, typer.Argument(help="Network to compare it with.")]

_COLUMNS = ("layer", "most alike", "CKA>", "interval>", "R2>")


def compare(
    network: First,
    other: Second,
    data: option.Data,
    *,
    out: option.Out,
    layers: option.Layers = "blocks",
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Compare two networks layer by layer on your data, and write a page that opens offline."""
    from layerwise import atlas, models, report
    from layerwise import data as room
    from layerwise.atlas._plain import to_plain

    samples = room.open(
        data, path_column=path_column, text_column=text_column, limit=limit, seed=seed
    )
    note_data(samples)
    one, two = (models.open(name, device=device_for(device)) for name in (network, other))
    if one.name == two.name:
        two.name = f"{two.name}-2"
    with progress() as show:
        found = atlas.compare(
            one,
            two,
            samples,
            out=out,
            layers=layers,
            seed=seed,
            progress=show,
            command=shlex.join(["layerwise", *sys.argv[1:]]),
        )
    page = report.write_comparison(found, out)
    for name, rows in found.provenance.reused.items():
        if rows:
            note(f"reused the features of {rows} samples of {name}")
    note_all("set aside", found.set_aside)
    if as_json:
        say_json(
            {
                "page": str(page),
                "words": found.words,
                "diagonality": found.diagonality,
                "matches": to_plain(found.matches),
                "same": to_plain(found.same),
                "set_aside": to_plain(found.set_aside),
            }
        )
    else:
        _answer(found, page)


def _answer(found: Comparison, page: Path) -> None:
    first = found.networks[0].network
    rows = (
        (
            match.layer,
            match.other_layer,
            f"{match.cka:.3f}",
            f"{match.low:.3f} to {match.high:.3f}",
            "" if match.told is None else f"{match.told:.3f}",
        )
        for match in found.matches
        if match.network == first
    )
    say_table(_COLUMNS, rows)
    say("")
    say(found.words)
    say("")
    say(f"The page: {page}")
