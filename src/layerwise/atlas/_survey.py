"""The main job: read every layer of some networks on the user's data, and say which one to use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from layerwise.atlas import _provenance
from layerwise.atlas._atlas import Atlas, Provenance
from layerwise.atlas._clock import Clock, Progress
from layerwise.atlas._controls import drawn, untrained
from layerwise.atlas._draw import require_pictures, visualised
from layerwise.atlas._files import save
from layerwise.atlas._geometry import similarity_of
from layerwise.atlas._inside import insides
from layerwise.atlas._judge import judge
from layerwise.atlas._language import is_language_model, language_of
from layerwise.atlas._leaderboard import prices
from layerwise.atlas._look import look
from layerwise.atlas._pass import (
    layer_rows,
    load_features,
    make_folder,
    named_networks,
    network_row,
    pooled_by_mean,
    set_aside,
    store_of,
)
from layerwise.atlas._price import UNBOUNDED, Budget
from layerwise.atlas._show import choose_shown, neighbours, place, show
from layerwise.atlas._words import code, words
from layerwise.data import Samples, Split
from layerwise.errors import LayerwiseError, unknown
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.taps import Extraction, extract

_FORMAT = 1
_SHOWN = 160


def survey(
    networks: Sequence[Network],
    samples: Samples,
    *,
    out: str | Path,
    targets: Iterable[str] | None = None,
    layers: str | Iterable[str] = "blocks",
    poolings: Sequence[Pooling] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    budget: Budget = UNBOUNDED,
    visualize: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Atlas:
    """Measure and rank the layers of networks on data, for every target, and choose.

    Every network is run once over the data. For each seed the samples are divided anew (unless the
    data say how): readouts are fitted on training samples, chosen on validation samples and
    reported on test samples. `out` then holds `atlas.json`, tables, and the features; a later
    survey into the same folder computes only what is missing.

    Args:
        networks: at least one, of the data's modality, with different names.
        samples: the data with their targets.
        out: folder of the atlas; made where there is none.
        targets: names of the targets, all by default.
        layers: addresses or patterns.
        poolings: as in `extract`.
        seeds: of the splits and all that is drawn.
        budget: what may be spent; nothing dearer is chosen.
        visualize: units of each chosen layer that a picture is drawn for, which takes a while.
        workers: processes that decode samples.
        progress: called as `progress(stage, done, total)`.
        command: what was typed to make the atlas, for its provenance.

    Raises:
        LayerwiseError: no network, two of one name, no or unknown targets, nothing within the
            budget, or what `extract` and `split` refuse.
    """
    named = named_networks(networks)
    names = _chosen_targets(samples, targets, networks)
    if visualize:
        require_pictures(networks)
    out = Path(out)
    make_folder(out)
    clock = Clock(progress)
    extractions: dict[str, Extraction] = {}
    for name, network in named.items():
        with clock.stage(f"reading {name}"):
            extractions[name] = extract(
                network,
                samples,
                store_of(out, name),
                layers=layers,
                poolings=poolings,
                workers=workers,
                progress=progress,
            )
    with clock.stage("loading"):
        rows, features = load_features(samples, extractions)
    known = samples.take(rows)
    with clock.stage("costs"):
        priced = {at: cost for each in named.values() for at, cost in prices(each, known).items()}
        listed = layer_rows(named, extractions, features, priced)
        if names:
            read = {key[:2]: priced[key[:2]] for key in features}
            budget.require_something(read, ", ".join(names))
    with clock.stage("untrained control"):
        few = drawn(range(len(rows)), seeds[0])
        random = {
            key: values
            for name, network in named.items()
            for key, values in untrained(
                network, known, few, extractions[name].store.columns, seeds[0]
            ).items()
        }
    judged = [
        judge(
            known,
            known.targets[name],
            features=features,
            random=random,
            few=few,
            layers=listed,
            priced=priced,
            budget=budget,
            seeds=seeds,
            clock=clock,
        )
        for name in names
    ]
    with clock.stage("comparing layers"):
        similarity = similarity_of(features, list(named))
    with clock.stage("depth of language models"):
        language = [language_of(network, known, seeds[0]) for network in named.values()]
    with clock.stage("pictures"):
        sides = _sides(judged[0].split) if judged else {}
        tested = [i for i, s in sides.items() if s == "test"]
        shown = choose_shown(tested or range(len(rows)), _SHOWN, seeds[0])
        view = {key: values[shown] for key, values in features.items() if key[2] == "mean"}
        per_network = {
            name: {key[1]: values for key, values in view.items() if key[0] == name}
            for name in named
        }
    with clock.stage("looking inside"):
        looks = {
            name: look(network, known, shown, list(per_network[name]))
            for name, network in named.items()
        }
        inside, exemplary = insides(looks, features, known, sides, seeds[0])
    if visualize:
        with clock.stage("drawing units"):
            inside = visualised(
                inside,
                named,
                features,
                {at for each in judged for at in each.layers},
                count=visualize,
                folder=out / "drawn",
                seed=seeds[0],
                progress=progress,
            )
    with clock.stage("pictures"):
        atlas = Atlas(
            format=_FORMAT,
            provenance=Provenance(
                command=command,
                made=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=_provenance.versions(),
                machine=_provenance.machine(networks[0].device),
                seeds=tuple(seeds),
                data=samples.source,
                data_sha256=_provenance.hash_of(samples.keys),
                samples=len(rows),
                seconds=dict(clock.seconds),
                reused={name: extraction.reused for name, extraction in extractions.items()},
            ),
            networks=tuple(
                network_row(network, extractions[name], pooled_by_mean(features, name))
                for name, network in named.items()
            ),
            targets=tuple(j.row for j in judged),
            layers=listed,
            scores=tuple(score for j in judged for score in j.scores),
            choices=tuple(
                replace(
                    j.choice,
                    words=words(j.choice, j.row, len(named), budget, j.candidates),
                    code=code(j.choice.best, named, j.members),
                )
                for j in judged
            ),
            controls=tuple(control for j in judged for control in j.controls),
            collapse=tuple(row for j in judged for row in j.collapse),
            similarity=similarity,
            shown=show(known, shown, sides),
            maps=tuple(m for name in named for m in place(name, per_network[name])),
            neighbours=tuple(m for name in named for m in neighbours(name, per_network[name])),
            pictures=tuple(each for found in looks.values() for each in found.pictures),
            set_aside=set_aside(samples, extractions),
            language=tuple(found for found in language if found is not None),
            candidates=tuple(candidate for j in judged for candidate in j.candidates),
            budget=budget,
            looked=tuple(each for found in looks.values() for each in found.looked),
            inside=inside,
            exemplars=show(known, exemplary, sides),
        )
    save(atlas, out)
    return atlas


def _chosen_targets(
    samples: Samples, targets: Iterable[str] | None, networks: Sequence[Network]
) -> list[str]:
    """Names of the targets; none will do where a language model tells of its own depth."""
    names = list(samples.targets) if targets is None else list(targets)
    for name in names:
        if name not in samples.targets:
            raise unknown("target", name, samples.targets)
    if not names and not any(map(is_language_model, networks)):
        raise LayerwiseError(
            f"{samples.source} has no target to read; give a table with columns, or a folder with "
            f"one sub-folder a class"
        )
    return names


def _sides(divided: Split) -> dict[int, str]:
    return {
        row: side
        for side in ("train", "validation", "test")
        for row in getattr(divided, side).tolist()
    }
