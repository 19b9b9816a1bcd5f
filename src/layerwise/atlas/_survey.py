"""The main job: read every layer of some networks on the user's data, and say which one to use."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas import _provenance
from layerwise.atlas._atlas import (
    Atlas,
    Choice,
    Collapse,
    Control,
    LayerRow,
    NetworkRow,
    Provenance,
    Score,
    TargetRow,
)
from layerwise.atlas._candidate import Candidate
from layerwise.atlas._choose import Key, choose, stand
from layerwise.atlas._combine import join
from layerwise.atlas._controls import controls, drawn, untrained
from layerwise.atlas._draw import require_pictures, visualised
from layerwise.atlas._files import save
from layerwise.atlas._geometry import collapse_of, dimensions_of, similarity_of, smallness
from layerwise.atlas._inside import insides
from layerwise.atlas._language import is_language_model, language_of
from layerwise.atlas._leaderboard import leaderboard, prices
from layerwise.atlas._look import look
from layerwise.atlas._price import UNBOUNDED, Budget, Price
from layerwise.atlas._show import choose_shown, neighbours, place, show
from layerwise.atlas._words import code, words
from layerwise.data import Samples, Split, Target, split
from layerwise.errors import LayerwiseError, unknown
from layerwise.features.laws import Pooling
from layerwise.measures import probe
from layerwise.models import Network
from layerwise.taps import Extraction, extract

Progress = Callable[[str, int, int], None]

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
    named = _named(networks)
    names = _chosen_targets(samples, targets, networks)
    if visualize:
        require_pictures(networks)
    out = Path(out)
    _make(out)
    clock = _Clock(progress)
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
        rows, features = _load(samples, extractions)
    known = samples.take(rows)
    with clock.stage("costs"):
        priced = {at: cost for each in named.values() for at, cost in prices(each, known).items()}
        listed = _layer_rows(named, extractions, features, priced)
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
        _judge(
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
                {at for each in judged for at in _layers_of(each)},
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
                _network_row(network, extractions[name], pooled_by_mean(features, name))
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
            set_aside=_set_aside(samples, extractions),
            language=tuple(found for found in language if found is not None),
            candidates=tuple(candidate for j in judged for candidate in j.candidates),
            budget=budget,
            looked=tuple(each for found in looks.values() for each in found.looked),
            inside=inside,
            exemplars=show(known, exemplary, sides),
        )
    save(atlas, out)
    return atlas


@final
@dataclass(frozen=True)
class _Judged:
    """All that was found for one target."""

    row: TargetRow
    split: Split
    scores: tuple[Score, ...]
    choice: Choice
    members: Mapping[Key, tuple[str, ...]]
    controls: tuple[Control, ...]
    collapse: tuple[Collapse, ...]
    candidates: tuple[Candidate, ...]


def _judge(
    samples: Samples,
    target: Target,
    *,
    features: Mapping[Key, Float[Tensor, "n _"]],
    random: Mapping[Key, Float[Tensor, "m _"]],
    few: Sequence[int],
    layers: Sequence[LayerRow],
    priced: Mapping[tuple[str, str], Price],
    budget: Budget,
    seeds: Sequence[int],
    clock: _Clock,
) -> _Judged:
    generator = torch.Generator().manual_seed(seeds[0])
    splits = [split(samples, target, seed=seed) for seed in seeds]
    tables = []
    for done, (seed, divided) in enumerate(zip(seeds, splits, strict=True)):
        with clock.stage(f"judging {target.name}", done, len(seeds)):
            tables.append(probe(features, target, divided, seed=seed))
    with clock.stage(f"joining layers for {target.name}"):
        tables, joined = join(features, target, splits, seeds, tables)
    row = _target_row(target, splits[0])
    standing = stand(target, samples.keys, tables, generator)
    read = [layer for layer in layers if not layer.refused]
    costs = {(layer.network, layer.layer): layer.milliseconds for layer in read}
    costs |= {e.key[:2]: max(costs[e.key[0], name] for name in e.members) for e in joined}
    members = {each.key: each.members for each in joined}
    # Several layers of a network cost what the deepest of them costs.
    deepest = {
        (key[0], key[1]): max((priced[key[0], name] for name in names), key=lambda p: p.alone)
        for key, names in members.items()
    }
    payable = {**priced, **deepest}
    with clock.stage(f"choosing for {target.name}"):
        choice = choose(
            standing,
            milliseconds=costs,
            last={layer.network: layer.layer for layer in read},
            generator=generator,
            combined=list(members),
            affordable={at for at, price in payable.items() if budget.allows(price)},
        )
        checks = controls(
            target,
            standing,
            trained=features,
            random=random,
            rows=few,
            split=splits[0],
            generator=generator,
        )
        collapsed = collapse_of(target, features, splits[0].train)
    ranked = leaderboard(standing, payable, budget=budget, generator=generator)
    return _Judged(row, splits[0], standing.scores, choice, members, checks, collapsed, ranked)


def _layers_of(judged: _Judged) -> list[tuple[str, str]]:
    """The chosen layer, or those that are joined in it."""
    best = judged.choice.best
    joined = {key[:2]: names for key, names in judged.members.items()}
    names = joined.get((best.network, best.layer), (best.layer,))
    return [(best.network, name) for name in names]


@final
class _Clock:
    """Tells the progress, and adds up how long each stage took."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, done: int = 0, total: int = 1) -> Iterator[None]:
        """Time what happens inside."""
        if self.progress is not None and total > 0:
            self.progress(name, done, total)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
        if self.progress is not None:
            self.progress(name, done + 1, total)


def _named(networks: Sequence[Network]) -> dict[str, Network]:
    named = {network.name: network for network in networks}
    if not named or len(named) < len(networks):
        given = ", ".join(network.name for network in networks) or "none"
        raise LayerwiseError(f"networks {given}: give at least one, and each name only once")
    return named


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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayerwiseError(
            f"the folder {str(folder)!r} cannot be made: {error.strerror}; give another with --out"
        ) from error


def store_of(folder: Path, network: str) -> Path:
    """Where an atlas keeps the features of a network.

    Args:
        folder: of the atlas.
        network: its name.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", network).strip("-.") or "network"
    return folder / "features" / f"{name}.lance"


def _load(
    samples: Samples, extractions: Mapping[str, Extraction]
) -> tuple[list[int], dict[Key, Float[Tensor, "n d"]]]:
    """Features of the samples that every network could read, in one order."""
    stored = [extraction.store.keys() for extraction in extractions.values()]
    rows = [i for i, key in enumerate(samples.keys) if all(key in keys for keys in stored)]
    if not rows:
        aside = _set_aside(samples, extractions)
        first = f", first {aside[0][0]!r}: {aside[0][1]}" if aside else ""
        raise LayerwiseError(
            f"no sample of {samples.source} could be read by every network; "
            f"{len(aside)} were set aside{first}"
        )
    keys = [samples.keys[i] for i in rows]
    features = {
        (name, column.layer, column.pooling): extraction.store.load(column.name, keys=keys).float()
        for name, extraction in extractions.items()
        for column in extraction.store.columns
    }
    return rows, features


def _layer_rows(
    networks: Mapping[str, Network],
    extractions: Mapping[str, Extraction],
    features: Mapping[Key, Float[Tensor, "n _"]],
    priced: Mapping[tuple[str, str], Price],
) -> tuple[LayerRow, ...]:
    found = []
    for name, network in networks.items():
        refused = dict(extractions[name].refused)
        read = {column.layer for column in extractions[name].store.columns}
        listed = [layer for layer in network.layers if layer.name in read | refused.keys()]
        for i, layer in enumerate(listed):
            mine = {
                key[2]: value for key, value in features.items() if key[:2] == (name, layer.name)
            }
            row = LayerRow(
                network=name,
                layer=layer.name,
                kind=layer.kind,
                position=i,
                depth=i / max(1, len(listed) - 1),
                layout=layer.layout.form if layer.layout else "",
                shape=layer.shape,
                width=layer.width if layer.layout else 0,
                parameters=layer.parameters_before,
                flops=layer.flops_before,
                milliseconds=priced[name, layer.name].together,
                bytes=sum(4 * value.shape[1] for value in mine.values()),
                refused=refused.get(layer.name, ""),
            )
            found.append(dimensions_of(row, mine["mean"]) if "mean" in mine else row)
    return tuple(found)


def _target_row(target: Target, divided: Split) -> TargetRow:
    labels = target.values[divided.test]
    chance = 0.0
    if target.kind == "class":
        most = int(target.values[divided.train].bincount().argmax())
        chance = float((labels == most).double().mean())
    return TargetRow(
        target.name,
        target.kind,
        target.classes,
        "accuracy" if target.kind == "class" else "R2",
        chance,
        len(divided.train),
        len(divided.validation),
        len(divided.test),
    )


def _sides(divided: Split) -> dict[int, str]:
    return {
        row: side
        for side in ("train", "validation", "test")
        for row in getattr(divided, side).tolist()
    }


def _set_aside(
    samples: Samples, extractions: Mapping[str, Extraction]
) -> tuple[tuple[str, str], ...]:
    every = [*samples.set_aside, *(s for e in extractions.values() for s in e.set_aside)]
    return tuple(dict.fromkeys((aside.name, aside.reason) for aside in every))


def pooled_by_mean(
    features: Mapping[Key, Float[Tensor, "n _"]], network: str
) -> dict[str, Float[Tensor, "n _"]]:
    """The layers of one network, pooled by their mean.

    Args:
        features: of all networks, layers and poolings.
        network: its name.
    """
    return {k[1]: values for k, values in features.items() if k[0] == network and k[2] == "mean"}


def _network_row(
    network: Network, extraction: Extraction, features: Mapping[str, Float[Tensor, "n _"]]
) -> NetworkRow:
    return NetworkRow(
        network.name,
        network.source,
        network.modality,
        network.card,
        sum(p.numel() for p in network.module.parameters()),
        network.weights_hash,
        repr(network.prepare),
        (*_notes(network, extraction), *smallness(features)),
    )


def _notes(network: Network, extraction: Extraction) -> tuple[str, ...]:
    read = [network.layers[column.layer] for column in extraction.store.columns]
    copied = [layer.name for layer in dict.fromkeys(read) if layer.overwritten]
    notes = [f"{name} was not read: {reason}" for name, reason in extraction.refused]
    if copied:
        notes.append(f"changed in place later, so copied before: {', '.join(copied)}")
    return tuple(notes)
