"""`layerwise explain`: why a network says what it says, and how far to believe the reason."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerwise.cli import _options as option
from layerwise.cli._output import note, progress, say, say_json, say_table

if TYPE_CHECKING:
    from layerwise.explain import Account, Judged
    from layerwise.models import Network

_COLUMNS = ("way", "layer", "above chance>", "deletion>", "insertion>", "left scrambled>", "s>")

Source = Annotated[
    str,
    typer.Argument(
        help="Picture file, a text in quotes or its file; with --bench also what `atlas` takes."
    ),
]
Methods = Annotated[
    list[str], typer.Option("--method", "-m", help="Way to explain; may be repeated.")
]
Layer = Annotated[str, typer.Option("--layer", "-l", help=option.LAYER)]
Label = Annotated[int | None, typer.Option("--target", "-t", help=option.TARGET)]
Of = Annotated[
    str | None, typer.Option("--of", help="Layer whose channels are explained, not the output's.")
]
Bench = Annotated[
    bool, typer.Option("--bench", help="Rank all ways to explain and layers on these samples.")
]


def explain(
    network: option.Network,
    source: Source,
    *,
    methods: Methods = [],  # noqa: B006
    layer: Layer = "stages",
    target: Label = None,
    of: Of = None,
    out: option.Out = Path("explanations.html"),
    bench: Bench = False,
    limit: option.Limit = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    as_json: option.Json = False,
) -> None:
    """Show why a network says what it says of a picture or a text, and how sure that is."""
    from layerwise import models
    from layerwise.cli._device import device_for
    from layerwise.explain import account, suited
    from layerwise.report import write_explanations

    opened = models.open(network, device=device_for(device))
    samples, names = _samples(opened, source, limit if bench else 1, seed)
    chosen = methods or ([each.name for each in suited(opened)] if bench else [])
    with progress() as report:
        told = account(
            opened,
            samples,
            names,
            methods=chosen,
            layers=layer,
            label=target,
            of=of,
            seed=seed,
            progress=report,
        )
    for remark in told.notes:
        note(remark)
    page = write_explanations(told, out, command=shlex.join(["layerwise", *sys.argv[1:]]))
    if as_json:
        say_json(_plain(told, page))
        return
    for subject in told.subjects:
        best = ", ".join(f"{said.name} {said.probability:.1%}" for said in subject.said)
        say(f"{subject.name}: {best}; explained: {subject.aim.name}")
    say_table(_COLUMNS, map(_row, told.judged))
    say(f"page: {page}")


def _samples(
    network: Network, source: str, limit: int | None, seed: int
) -> tuple[list[Any], list[str]]:
    """One sample, or several of a data set where the source is no picture's file."""
    from layerwise import data
    from layerwise.explain import sample_of

    path = Path(source)
    several = limit != 1 and (source in _built_in() or path.is_dir() or path.suffix in _TABLES)
    if not several:
        sample, name = sample_of(network, source)
        return [sample], [name]
    opened = data.open(source, limit=limit or _FEW, seed=seed)
    return [opened.load(i) for i in range(len(opened))], list(opened.names)


_FEW = 8
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".zip")


def _built_in() -> list[str]:
    from layerwise import data

    return [each.name for each in data.builtin()]


def _row(judged: Judged) -> tuple[str, ...]:
    found = judged.faithfulness
    return (
        judged.way,
        judged.layer,
        f"{judged.score:+.3f}",
        f"{float(found.deletion.mean()):.3f}",
        f"{float(found.insertion.mean()):.3f}",
        f"{float(judged.left.mean()):+.2f}",
        f"{judged.seconds:.1f}",
    )


def _plain(told: Account, page: Path) -> dict[str, Any]:
    return {
        "network": told.network,
        "page": str(page),
        "samples": [
            {
                "name": subject.name,
                "explained": {"label": subject.aim.label, "name": subject.aim.name},
                "said": [vars(said) for said in subject.said],
            }
            for subject in told.subjects
        ],
        "explanations": [
            {
                "way": each.way,
                "layer": each.layer,
                "above_chance": each.score,
                "deletion": float(each.faithfulness.deletion.mean()),
                "insertion": float(each.faithfulness.insertion.mean()),
                "left_when_scrambled": float(each.left.mean()),
                "seconds": each.seconds,
            }
            for each in told.judged
        ],
    }
