"""Fitting a reader: training samples fit, validation samples choose and calibrate, test reports.

The temperature, the margin and the bound of the familiar come from validation samples, which the
head has never been fitted on. Nothing is fitted again afterwards. Features flow by out of the
store; only what a readout has to hold is in memory: nothing for `ridge` and `nearest-mean`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from layerwise.atlas import _provenance
from layerwise.atlas._affine import Fusion
from layerwise.atlas._facts import Facts
from layerwise.atlas._fitting import fit_stored
from layerwise.atlas._heads import maker
from layerwise.atlas._reader import Progress, Reader
from layerwise.data import Samples
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Mean
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.models._architecture import Architecture
from layerwise.models._examples import Inputs
from layerwise.models._feed import Feed
from layerwise.taps import Cut, Extraction, cut, extract, saving

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
    shots: int | None = None,
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
        readout: `linear`, `ridge`, `nearest-mean` or `knn`. Memory does not grow with the number of
            samples for `ridge` and `nearest-mean`, without a fusion.
        shots: samples of each class that fit, and at most that choose; the test side stays as it
            is. Other draws of as many tell how much hangs on the draw.
        level: share of new samples that intervals, and the bound of the familiar, are to hold.
        seed: of the split.
        extraction: of these samples, with these layers and poolings among others; without it the
            network runs over the samples now, and no features are kept.
        workers: processes that decode samples.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: no such target, layer or readout; nothing to combine; or what `extract`,
            `split` and `few_shot` refuse.

    Example:
        >>> import layerwise, torch
        >>> from torch import nn
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
        known = _known(samples, done)
        wanted = _wanted(network, layers, poolings)
        if progress is not None:
            progress("fitting", 0, 1)
        fitted = fit_stored(
            done.store,
            known,
            known.targets[target],
            columns=[c for c in done.store.columns if (c.layer, c.pooling) in wanted],
            make=make,
            fusion=fusion,
            shots=shots,
            level=level,
            seed=seed,
        )
    few = _first(network, known)
    short = cut(network, [column.layer for column in fitted.columns], inputs=few[0])
    body = short.module
    assert isinstance(body, Cut)
    timed = [saving(network, short, inputs=batch, repeats=3) for batch in few]
    facts = Facts(
        target=target,
        classes=fitted.classes,
        network=network.name,
        source=network.source,
        card=network.card,
        weights_sha256=network.weights_hash,
        preparation=repr(network.prepare),
        columns=tuple((column.layer, column.pooling) for column in fitted.columns),
        fusion=fusion.__name__ if fusion is not None else "",
        readout=readout,
        setting=fitted.setting,
        gone=body.gone,
        shells=body.shells,
        note=body.note,
        data=samples.source,
        data_sha256=_provenance.hash_of(known.keys),
        seed=seed,
        samples=fitted.samples,
        set_aside=len(samples.set_aside) + len(done.set_aside),
        truncated=len(done.truncated),
        quality=fitted.quality,
        level=level,
        parameters=timed[0].parameters,
        bytes=timed[0].bytes,
        batches=tuple(each.batch for each in timed),
        milliseconds=tuple(each.milliseconds for each in timed),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_provenance.versions(),
        machine=_provenance.machine(network.device),
        shots=shots,
    )
    reader = Reader(
        body,
        fitted.combine,
        fitted.head,
        fitted.familiar,
        bounds=fitted.bounds,
        facts=facts,
        feed=Feed(network.modality, network.prepare, network.collate),
        architecture=Architecture.of(network),
        example=few[0] if network.modality == "tensor" else None,
    ).to(network.device)
    if progress is not None:
        progress("fitting", 1, 1)
    return reader


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


def _known(samples: Samples, done: Extraction) -> Samples:
    """Samples that have a row in the store."""
    stored = set(done.store.keys())
    rows = [i for i, key in enumerate(samples.keys) if key in stored]
    if not rows:
        first = f", first {done.set_aside[0].name!r}: {done.set_aside[0].reason}"
        raise LayerwiseError(
            f"no sample of {samples.source} could be read{first if done.set_aside else ''}"
        )
    return samples.take(rows)


def _first(network: Network, samples: Samples) -> list[Inputs]:
    """Batches of the first samples, one for each size."""
    prepared = [network.prepare(samples.load(i)) for i in range(min(len(samples), max(_BATCHES)))]
    return [network.batch(prepared[:size]) for size in _BATCHES if size <= len(prepared)]
