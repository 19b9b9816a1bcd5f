"""`layerwise atlas`: the main job, from data and networks to a ranked answer and a page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, note_all, note_data, progress, say, say_json, say_table
from layerwise.cli._reader import show_candidates

if TYPE_CHECKING:
    from layerwise.atlas import Atlas
    from layerwise.atlas._atlas import Score

_COLUMNS = ("target", "layer", "readout", "test>", "last layer>", "cheapest as good")


def survey(
    data: option.Data,
    *,
    networks: option.Networks,
    out: option.Out,
    layers: option.Layers = "blocks",
    targets: option.Targets = None,
    budget_ms: option.BudgetMs = None,
    budget_mb: option.BudgetMb = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    split_column: option.SplitColumn = None,
    group_column: option.GroupColumn = None,
    visualize: Annotated[
        int,
        typer.Option(
            "--visualize",
            min=0,
            help="Units of each chosen layer to draw a picture for, half a minute or more each.",
        ),
    ] = 0,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Rank the layers of networks on your data, and write a page that opens offline."""
    from layerwise import atlas, models, report
    from layerwise import data as room
    from layerwise.atlas._plain import to_plain
    from layerwise.atlas._price import Budget

    samples = room.open(
        data,
        targets=targets,
        path_column=path_column,
        text_column=text_column,
        split_column=split_column,
        group_column=group_column,
        limit=limit,
        seed=seed,
    )
    note_data(samples)
    opened = [models.open(name, device=device_for(device)) for name in networks]
    with progress() as show:
        found = atlas.survey(
            opened,
            samples,
            out=out,
            layers=layers,
            seeds=(seed, seed + 1, seed + 2),
            budget=Budget(budget_ms, budget_mb),
            visualize=visualize,
            progress=show,
            command=shlex.join(["layerwise", *sys.argv[1:]]),
        )
    page = report.write(found, out)
    _notes(found)
    if as_json:
        say_json(
            {
                "page": str(page),
                "choices": to_plain(found.choices),
                "language": to_plain(found.language),
                "reused": found.provenance.reused,
                "set_aside": to_plain(found.set_aside),
            }
        )
    else:
        _answer(found, page)


def _notes(atlas: Atlas) -> None:
    for name, samples in atlas.provenance.reused.items():
        if samples:
            note(f"reused the features of {samples} samples of {name}")
    note_all("set aside", atlas.set_aside)


def _answer(atlas: Atlas, page: Path) -> None:
    several = len(atlas.networks) > 1

    def named(score: Score) -> str:
        return f"{score.network} {score.layer}" if several else score.layer

    rows = (
        (
            choice.target,
            named(choice.best),
            f"{choice.best.pooling}, {choice.best.readout}",
            f"{choice.best.test:.3f}",
            f"{choice.last.test:.3f}",
            named(choice.cheapest),
        )
        for choice in atlas.choices
    )
    if atlas.choices:
        say_table(_COLUMNS, rows)
    for choice in atlas.choices:
        say("")
        say(choice.words)
    for target in atlas.targets:
        ranked = tuple(each for each in atlas.candidates if each.target == target.target)
        if several or not all(each.affordable for each in ranked):
            say("")
            say(f"{target.target}, within the budget first:")
            show_candidates(ranked)
    for language in atlas.language:
        say("")
        say(language.words)
    say("")
    say(f"The page: {page}")
