"""Fitting a reader: training samples fit, validation samples choose and calibrate, test reports.

The temperature, the margin and the bound of the familiar come from validation samples, which the
head has never been fitted on. Nothing is fitted again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.atlas import _provenance
from layerwise.atlas._affine import Fusion, combined, require_several
from layerwise.atlas._calibrate import calibration_error, conformal, temperature_of
from layerwise.atlas._facts import Facts, Quality
from layerwise.atlas._heads import Rows, maker
from layerwise.atlas._reader import Progress, Reader
from layerwise.data import Samples, Split, Target, split
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Mean
from layerwise.features.laws import Pooling
from layerwise.measures import bootstrap_mean, bootstrap_r2
from layerwise.models import Network
from layerwise.models._architecture import Architecture
from layerwise.models._examples import Inputs
from layerwise.models._feed import Feed
from layerwise.search import Mahalanobis
from layerwise.taps import Cut, Extraction, cut, extract, saving

_DIRECTIONS = 128
"""Most directions along which strangeness is measured: more would weigh more than many networks."""

_BATCHES = (1, 32)


def fit_reader(
    network: Network,
    samples: Samples,
    target: str,
    *,
    layers: str | Iterable[str],
    poolings: Sequence[Pooling] = (Mean(),),
    fusion: Fusion | None = None,
    readout: str = "linear",
    level: float = 0.95,
    seed: int = 0,
    extraction: Extraction | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Reader:
    """Fit a reader of one target on some layers of a network, and measure it.

    Args:
        network: stays as it is; the reader holds a copy of what it needs.
        samples: with the target.
        target: its name.
        layers: addresses or patterns of what to read; several stand side by side.
        poolings: of every layer that has places.
        fusion: how layers are combined: `Greedy`, `WeightedSum` or `FirstLast`.
        readout: `linear`, `nearest-mean` or `knn`.
        level: share of new samples that intervals, and the bound of the familiar, are to hold.
        seed: of the split.
        extraction: of these samples, with these layers and poolings among others; without it the
            network runs over the samples now, and no features are kept.
        workers: processes that decode samples.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: no such target, layer or readout; nothing to combine; or what `extract` and
            `split` refuse.

    Example:
        >>> import layerwise
        >>> rows = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
        >>> sides = [{"side": "left" if row[0] < 0 else "right"} for row in rows]
        >>> samples = layerwise.data.open(list(zip(rows, sides)))
        >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 800))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> reader = fit_reader(network, samples, "side", layers="1")
        >>> reader.facts.parameters, reader.facts.gone
        ((7240, 40), ('2',))
        >>> reader.predict(samples).labels[0] == sides[0]["side"]
        True
    """
    if target not in samples.targets:
        raise unknown("target", target, samples.targets)
    if not 0.5 <= level < 1:
        raise LayerwiseError(f"level={level}; give a share from 0.5 to below 1, as in 0.95")
    make = maker(readout)
    with TemporaryDirectory() as temporary:
        done = extraction or extract(
            network,
            samples,
            Path(temporary) / "features.lance",
            layers=layers,
            poolings=poolings,
            workers=workers,
            progress=progress,
        )
        known, features = _loaded(samples, done, _wanted(network, layers, poolings))
    divided = split(known, target, seed=seed)
    answers = _Answers.of(known.targets[target], divided)
    if fusion is not None:
        require_several([layer for layer, _ in features])
        named = {"\0".join(column): rows for column, rows in features.items()}
        train = {name: rows[answers.train] for name, rows in named.items()}
        names, combine = combined(fusion, train, answers.columns())
        columns = tuple((layer, pooling) for layer, pooling in (n.split("\0") for n in names))
    else:
        columns, combine = tuple(features), nn.Identity()
    with torch.no_grad():
        rows = combine(torch.cat([features[column] for column in columns], 1))
    sides = {
        side: Rows(rows[index], answers.values[index])
        for side, index in (
            ("train", answers.train),
            ("held", answers.held),
            ("test", answers.test),
        )
    }
    if progress is not None:
        progress("fitting", 0, 1)
    head, setting = make(sides["train"], sides["held"])
    head = head.float()
    labels = sides["train"].answers if answers.classes else torch.zeros(len(answers.train)).long()
    keep = min(_DIRECTIONS, rows.shape[1])
    familiar = Mahalanobis.fit(sides["train"].features, labels, keep=keep)
    bounds, quality = _measured(head, familiar, sides, answers, level)
    few = _first(network, known)
    short = cut(network, [layer for layer, _ in columns], inputs=few[0])
    body = short.module
    assert isinstance(body, Cut)
    timed = [saving(network, short, inputs=batch, repeats=3) for batch in few]
    facts = Facts(
        target=target,
        classes=answers.classes,
        network=network.name,
        source=network.source,
        card=network.card,
        weights_sha256=network.weights_hash,
        preparation=repr(network.prepare),
        columns=columns,
        fusion=fusion.__name__ if fusion is not None else "",
        readout=readout,
        setting=setting,
        gone=body.gone,
        shells=body.shells,
        note=body.note,
        data=samples.source,
        data_sha256=_provenance.hash_of(known.keys),
        seed=seed,
        samples=(len(answers.train), len(answers.held), len(answers.test)),
        set_aside=len(samples.set_aside) + len(done.set_aside),
        truncated=len(done.truncated),
        quality=quality,
        level=level,
        parameters=timed[0].parameters,
        bytes=timed[0].bytes,
        batches=tuple(each.batch for each in timed),
        milliseconds=tuple(each.milliseconds for each in timed),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_provenance.versions(),
        machine=_provenance.machine(network.device),
    )
    reader = Reader(
        body,
        combine,
        head,
        familiar,
        bounds=bounds,
        facts=facts,
        feed=Feed(network.modality, network.prepare, network.collate),
        architecture=Architecture.of(network),
        example=few[0] if network.modality == "tensor" else None,
    ).to(network.device)
    if progress is not None:
        progress("fitting", 1, 1)
    return reader


@final
@dataclass(frozen=True)
class _Answers:
    """True answers of all samples, and who fits, chooses and reports.

    Classes are numbered by those that training samples have; -1 stands for any other.
    """

    values: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None
    train: Tensor
    held: Tensor
    test: Tensor

    @classmethod
    def of(cls, target: Target, divided: Split) -> _Answers:
        sides = divided.train, divided.validation, divided.test
        if target.kind == "number":
            return cls(target.values, (), target.groups, *sides)
        present = target.values[divided.train].unique()
        index = torch.full((len(target.classes) + 1,), -1)
        index[present] = torch.arange(len(present))
        values = index[target.values]
        train, held, test = sides
        names = tuple(target.classes[i] for i in present.tolist())
        return cls(values, names, target.groups, train, held[values[held] >= 0], test)

    def columns(self) -> Float[Tensor, "n k"]:
        """Training answers as numbers to be fitted."""
        answers = self.values[self.train]
        if not self.classes:
            return answers[:, None].float()
        return nn.functional.one_hot(answers, len(self.classes)).float()

    def tested_by(self) -> list[str] | None:
        """Groups of the test samples."""
        return None if self.groups is None else [self.groups[i] for i in self.test.tolist()]


def _wanted(
    network: Network, layers: str | Iterable[str], poolings: Sequence[Pooling]
) -> set[tuple[str, str]]:
    """Layers with their poolings; one that gives a vector is stored as its own mean."""
    names = {pooling.name for pooling in poolings}
    return {
        (layer.name, name)
        for layer in network.layers.select(layers)
        if layer.layout is not None
        for name in (("mean",) if layer.layout.form == "vector" else names)
    }


def _loaded(
    samples: Samples, done: Extraction, wanted: set[tuple[str, str]]
) -> tuple[Samples, dict[tuple[str, str], Float[Tensor, "n _"]]]:
    stored = done.store.keys()
    rows = [i for i, key in enumerate(samples.keys) if key in stored]
    if not rows:
        first = f", first {done.set_aside[0].name!r}: {done.set_aside[0].reason}"
        raise LayerwiseError(
            f"no sample of {samples.source} could be read{first if done.set_aside else ''}"
        )
    keys = [samples.keys[i] for i in rows]
    return samples.take(rows), {
        (column.layer, column.pooling): done.store.load(column.name, keys=keys).float()
        for column in done.store.columns
        if (column.layer, column.pooling) in wanted
    }


def _first(network: Network, samples: Samples) -> list[Inputs]:
    """Batches of the first samples, one for each size."""
    prepared = [network.prepare(samples.load(i)) for i in range(min(len(samples), max(_BATCHES)))]
    return [network.batch(prepared[:size]) for size in _BATCHES if size <= len(prepared)]


def _measured(
    head: nn.Module,
    familiar: Mahalanobis,
    sides: Mapping[str, Rows],
    answers: _Answers,
    level: float,
) -> tuple[Float[Tensor, " 3"], Quality]:
    """Temperature, margin and bound from validation samples; what they are worth on test."""
    held, test = sides["held"], sides["test"]
    with torch.no_grad():
        ahead, last = head(held.features), head(test.features)
        far = conformal(familiar(held.features).amin(1), level)
        alarms = float((familiar(test.features).amin(1) > far).double().mean())
    groups = answers.tested_by()
    if answers.classes:
        temperature = temperature_of(ahead, held.answers)
        errors = [
            calibration_error((last / each).softmax(1), test.answers) for each in (1.0, temperature)
        ]
        right = (last.argmax(1) == test.answers).double()
        interval = bootstrap_mean(right, groups=groups)
        most = int(sides["train"].answers.bincount().argmax())
        quality = Quality(
            "accuracy",
            float(interval.value),
            float(interval.low),
            float(interval.high),
            chance=float((test.answers == most).double().mean()),
            calibration=(errors[0], errors[1]),
            covered=None,
            alarms=alarms,
        )
        return torch.tensor([temperature, 0.0, far]), quality
    margin = conformal((ahead[:, 0].double() - held.answers).abs(), level)
    missed = (last[:, 0].double() - test.answers).abs()
    interval = bootstrap_r2(last[:, 0].double(), test.answers, groups=groups)
    quality = Quality(
        "R2",
        float(interval.value),
        float(interval.low),
        float(interval.high),
        chance=0.0,
        calibration=None,
        covered=float((missed <= margin).double().mean()),
        alarms=alarms,
    )
    return torch.tensor([1.0, margin, far]), quality
