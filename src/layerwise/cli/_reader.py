"""`layerwise fit`, `predict` and `embed`: from data to a reader, and from a reader to answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import (
    counted,
    note,
    note_all,
    note_data,
    progress,
    say,
    say_json,
    say_table,
)

if TYPE_CHECKING:
    from layerwise.atlas._candidate import Candidate
    from layerwise.atlas._facts import Facts
    from layerwise.data import Samples

_FEW = 8

Folder = Annotated[Path, typer.Argument(help="Folder of a reader, as `layerwise fit` wrote it.")]
Target = Annotated[str, typer.Option("--target", "-t", help=option.TARGET)]


def fit(
    data: option.Data,
    *,
    networks: option.Networks,
    target: Target,
    out: option.Out,
    layers: option.Layers = "blocks",
    fusion: Annotated[
        str, typer.Option("--fusion", help="Combine the layers: greedy, weighted-sum, first-last.")
    ] = "",
    readout: Annotated[
        str,
        typer.Option("--readout", help="linear, ridge, nearest-mean or knn; without it the best."),
    ] = "",
    shots: Annotated[
        int | None,
        typer.Option("--shots", min=1, help="Fit and choose on so many samples of each class."),
    ] = None,
    budget_ms: option.BudgetMs = None,
    budget_mb: option.BudgetMb = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    split_column: option.SplitColumn = None,
    group_column: option.GroupColumn = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Choose the best layer of some networks, cut there, and write a reader."""
    from layerwise import atlas, models
    from layerwise import data as room
    from layerwise.atlas._affine import fusion_named
    from layerwise.atlas._heads import maker
    from layerwise.atlas._leaderboard import rank
    from layerwise.atlas._plain import to_plain
    from layerwise.atlas._price import UNBOUNDED, Budget
    from layerwise.atlas._reader import pooling_named
    from layerwise.errors import LayerwiseError

    samples = room.open(
        data,
        targets=[target],
        path_column=path_column,
        text_column=text_column,
        split_column=split_column,
        group_column=group_column,
        limit=limit,
        seed=seed,
    )
    note_data(samples)
    name = next(iter(samples.targets))
    if readout:
        maker(readout)  # a wrong word is said before the network runs, not after
    kind = fusion_named(fusion) if fusion else None
    opened = [models.open(each, device=device_for(device)) for each in networks]
    if kind is not None and len(opened) > 1:
        raise LayerwiseError(f"--fusion combines layers of one network, not of {len(opened)}")
    budget = Budget(budget_ms, budget_mb)
    if kind is not None and budget != UNBOUNDED:
        raise LayerwiseError(
            f"a budget of {budget} chooses among layers, and --fusion takes those of --layers; "
            "give one of the two"
        )
    kept = out / "features"
    ranked: tuple[Candidate, ...] = ()
    with progress() as show:
        if kind is not None:
            reader = atlas.fit_reader(
                opened[0],
                samples,
                name,
                layers=layers,
                fusion=kind,
                readout=readout or "linear",
                shots=shots,
                seed=seed,
                progress=show,
            )
        else:
            ranked, done = rank(
                opened,
                samples,
                name,
                store=kept,
                layers=layers,
                seed=seed,
                budget=budget,
                shots=shots,
                progress=show,
            )
            best = next((c for c in ranked if readout in ("", c.readout)), ranked[0])
            reader = atlas.fit_reader(
                next(network for network in opened if network.name == best.network),
                samples,
                name,
                layers=[best.layer],
                poolings=[pooling_named(best.pooling)],
                readout=readout or best.readout,
                shots=shots,
                seed=seed,
                extraction=done[best.network],
                progress=show,
            )
    atlas.save_reader(reader, out)
    shutil.rmtree(kept, ignore_errors=True)  # nobody needs them now; they served an interruption
    facts = reader.facts
    if facts.note:
        note(facts.note)
    if as_json:
        say_json(
            {"reader": str(out), "facts": to_plain(facts), "candidates": to_plain(list(ranked))}
        )
        return
    show_candidates(ranked)
    say("")
    _say_facts(facts)
    say(f"The reader: {out}")


def _say_facts(facts: Facts) -> None:
    """What a reader reads, how well, and what it costs."""
    from layerwise.atlas._facts import DRAWS

    quality = facts.quality
    layer = " + ".join(facts.layers)
    say(
        f"{facts.target} is read off {layer} of {facts.network} ({facts.readout}): "
        f"{quality.metric} {quality.score:.3f}, 95 % interval {quality.low:.3f} to "
        f"{quality.high:.3f}; knowing nothing gives {quality.chance:.3f}."
    )
    if quality.doubt:
        say(quality.doubt)
    if quality.draws is not None:
        low, high = quality.draws
        say(
            f"Fitted on {facts.shots} samples of each class and chosen on as many; {DRAWS} other "
            f"draws of them give {low:.3f} to {high:.3f}."
        )
    if quality.calibration is not None:
        before, after = quality.calibration
        say(f"Calibration error on test samples: {before:.3f} before, {after:.3f} after.")
    if quality.covered is not None:
        say(f"{quality.covered:.1%} of test samples lie in their {facts.level:.0%} interval.")
    say(
        f"Cut: {counted(facts.parameters[1])} of {counted(facts.parameters[0])} parameters, "
        f"{facts.milliseconds[0][1]:.1f} of {facts.milliseconds[0][0]:.1f} ms for one sample."
    )


def show_candidates(ranked: tuple[Candidate, ...]) -> None:
    """A table of the best few, of those on the front, and how many cannot be told apart."""
    chosen = [c for i, c in enumerate(ranked) if i < _FEW or (c.front and c.affordable)]
    if not chosen:
        return
    rows = (
        (
            f"{c.network} {c.layer}",
            f"{c.pooling}, {c.readout}",
            f"{c.test:.3f}",
            f"{c.low:.3f} to {c.high:.3f}",
            f"{c.milliseconds[0]:.1f}",
            f"{c.milliseconds[1]:.1f}",
            counted(c.parameters),
            f"{c.bytes / 1e6:.1f}",
            " ".join(w for w, yes in (("=", c.level), ("front", c.front)) if yes)
            if c.affordable
            else "too dear",
        )
        for c in chosen
    )
    columns = (
        "layer",
        "readout",
        "test>",
        "interval",
        "ms, 1>",
        "ms, 32>",
        "parameters>",
        "MB>",
        "",
    )
    say_table(columns, rows)
    level = sum(c.level for c in ranked)
    if level > 1:
        say(f"= marks what cannot be told from the first: {level} of {len(ranked)} candidates.")


def predict(
    reader: Folder,
    data: option.Data,
    *,
    out: option.Out,
    batch_size: option.BatchSize = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Answer for every sample, with calibrated probabilities or intervals."""
    from layerwise import atlas
    from layerwise.atlas._tables import writing

    loaded = atlas.load_reader(reader, device=device_for(device))
    samples = _samples(data, path_column, text_column, limit)
    written, strange, cut_short = 0, 0, 0
    aside: list[tuple[str, str]] = []
    with progress() as show, writing(out) as write:
        for part in loaded.stream(samples, batch_size=batch_size, progress=show):
            write(list(part.rows(loaded.facts.target)))
            written += len(part)
            strange += int(part.unfamiliar.sum())
            cut_short += len(part.truncated)
            aside += [(each.name, each.reason) for each in part.set_aside]
    note_all("set aside", aside)
    if cut_short:
        note(
            f"{cut_short} of {written} texts are longer than the network takes; their ends were "
            "not read"
        )
    if as_json:
        told = {"answers": str(out), "rows": written, "unfamiliar": strange}
        say_json(told | {"truncated": cut_short, "set_aside": dict(aside)})
        return
    say(
        f"{written} answers in {out}; {strange} samples are unlike anything the reader was fitted "
        f"on, {len(aside)} could not be read"
    )


def embed(
    reader: Folder,
    data: option.Data,
    *,
    out: option.Out,
    batch_size: option.BatchSize = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Write the features that the reader reads, one row for each sample."""
    from layerwise import atlas
    from layerwise.atlas._tables import writing

    loaded = atlas.load_reader(reader, device=device_for(device))
    samples = _samples(data, path_column, text_column, limit)
    written, width = 0, 0
    aside: list[tuple[str, str]] = []
    with progress() as show, writing(out) as write:
        for names, rows, skipped in loaded.embed(samples, batch_size=batch_size, progress=show):
            pairs = zip(names, rows.tolist(), strict=True)
            write([{"name": name, "features": values} for name, values in pairs])
            written, width = written + len(names), rows.shape[1]
            aside += [(each.name, each.reason) for each in skipped]
    note_all("set aside", aside)
    if as_json:
        told = {"features": str(out), "rows": written, "width": width}
        say_json(told | {"set_aside": dict(aside)})
        return
    say(f"{written} rows of {width} features in {out}; {len(aside)} samples could not be read")


def _samples(
    data: str, path_column: str | None, text_column: str | None, limit: int | None
) -> Samples:
    from layerwise import data as room

    samples = room.open(data, path_column=path_column, text_column=text_column, limit=limit)
    note(f"{len(samples)} samples of {samples.source}")
    return samples
