"""Features of a whole data set to disk, in one pass that may be interrupted at any moment.

All layers are read and pooled in the same forward, so memory does not grow with the data. What
ran before is reused: rows are known by the content of their samples, and the plan of batches that
an interrupted run has left is gone on with (see `_plan.py`), so that the features come out with the
same bytes as without the interruption.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import final, get_args

import torch

from layerwise import __version__
from layerwise.data import Samples, SetAside, Target, Unreadable
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Recipe, Store
from layerwise.features._disk import plain_errors
from layerwise.features._lance import Values
from layerwise.features._recipe import StoredType
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.taps._columns import Wanted, wanted
from layerwise.taps._pass import Clock, rows
from layerwise.taps._pending import Pending
from layerwise.taps._plan import Plan

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`."""


@final
@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Args:
        store: the store with all the features.
        computed: rows that were computed.
        reused: rows that were there already.
        set_aside: samples that have no row, with the reason.
        truncated: names of the texts that were computed now and were longer than the network takes.
        refused: layers that were asked for by a pattern but that nobody can vouch for, and why.
        seconds: how long it took, all in all.
        waiting: seconds of it spent waiting for samples to be decoded.
        forward: seconds of it spent in the network.
    """

    store: Store
    computed: int
    reused: int
    set_aside: tuple[SetAside, ...]
    truncated: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    seconds: float
    waiting: float
    forward: float


def extract(
    network: Network,
    samples: Samples,
    store: str | os.PathLike[str],
    *,
    layers: str | Iterable[str] = "blocks",
    poolings: Sequence[Pooling] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    dtype: StoredType = "float32",
    commit_rows: int = 512,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Read layers of a network over a data set, pool them, and store the features.

    Run it again after an interruption, or with more samples: it computes what is missing, and
    nothing else.

    Args:
        network: the network.
        samples: the data, of the network's modality.
        store: folder of the store, best called `NAME.lance`; made where there is none.
        layers: addresses or patterns.
        poolings: how layers are pooled. A layer that gives a vector is kept as it is, under
            `mean`. Without it: the mean, besides the first token where there is a class token, or
            in a text network the first or the last one, whichever has seen the whole text.
        batch_size: samples in a forward; without it 8 pictures or 32 other samples on the CPU, and
            64 elsewhere.
        workers: processes that decode samples; 0 decodes in this process, None chooses.
        dtype: type the features are stored in.
        commit_rows: rows that are appended at once, fewer where they are very wide; what a kill can
            cost.
        limit: take only so many of the samples, from the start.
        progress: called as `progress(stage, done, total)` after every batch.

    Raises:
        LayerwiseError: no such layer; the store was made with something else, is damaged or in
            use; the disk is full; the network gives NaN for the whole first batch, or too large
            values for float16.
        KeyboardInterrupt: after Ctrl-C, when everything that was computed is committed.

    Example:
        >>> import layerwise, tempfile, torch
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> samples = layerwise.data.open(torch.randn(6, 4))
        >>> folder = tempfile.TemporaryDirectory()
        >>> done = extract(network, samples, f"{folder.name}/six.lance", layers="0")
        >>> done.computed, done.store.load("0:mean").shape
        (6, torch.Size([6, 8]))
        >>> extract(network, samples, f"{folder.name}/six.lance", layers="0").reused
        6
        >>> folder.cleanup()
    """
    start, clock = perf_counter(), Clock()
    samples = samples if limit is None else samples.take(range(min(limit, len(samples))))
    _require_fitting(network, samples)
    _require_sound(batch_size=batch_size, commit_rows=commit_rows, dtype=dtype)
    size = batch_size or _usual_batch_size(network)
    choice = wanted(network, layers, poolings)
    opened = Store.open(store, _recipe(network, samples, choice, dtype, size))
    labels = {target.name: values_of(target) for target in samples.targets.values()}
    set_aside: dict[str, str] = {}
    truncated: list[str] = []
    with opened.writing() as folder:
        opened.describe(samples.keys, samples.names, labels)
        reused = _present(samples, opened)
        for plan in _plans(samples, opened, folder, size):
            pending = Pending(opened, choice.columns, samples, labels, plan=plan, folder=folder)
            _carry_out(
                pending, network, choice, commit_rows, workers=workers, clock=clock, report=progress
            )
            set_aside |= pending.set_aside
            truncated += pending.truncated
        opened.finish()
        Plan.remove(folder)
    return Extraction(
        opened,
        _present(samples, opened) - reused,
        reused,
        tuple(
            SetAside(name, set_aside[key])
            for name, key in zip(samples.names, samples.keys, strict=True)
            if key in set_aside
        ),
        tuple(truncated),
        choice.refused,
        perf_counter() - start,
        clock.waiting,
        clock.forward,
    )


def _carry_out(
    pending: Pending,
    network: Network,
    choice: Wanted,
    commit_rows: int,
    *,
    workers: int | None,
    clock: Clock,
    report: Progress | None,
) -> None:
    samples, plan = pending.samples, pending.plan
    place = {key: index for index, key in enumerate(samples.keys)}
    left = [[place[key] for key in batch] for batch in plan.left]
    total = len(plan.keys)
    done = total - sum(map(len, left))
    computed = rows(network, samples, left, choice.poolings, workers=workers, clock=clock)
    try:
        with closing(computed):
            for planned, found in zip(left, computed, strict=True):
                pending.add(planned, found.batch, found.values)
                if pending.full(commit_rows):
                    pending.commit()
                done += len(planned)
                if report is not None:
                    report(f"reading {network.name}", done, total)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {done} of {total} samples, which are kept in "
            f"{str(pending.store.path)!r}; run the same command again to go on"
        ) from None
    finally:
        pending.commit()


def _plans(samples: Samples, store: Store, folder: Path, size: int) -> Iterator[Plan]:
    """The plan an interrupted run has left, if it still serves; then one for what it lacks."""
    missing = set(samples.keys) - set(store.keys())
    plan = Plan.read(folder)
    if plan is not None and plan.batch_size == size and set(plan.keys) <= set(samples.keys):
        missing -= set(plan.keys)
        yield plan.after(set(store.keys()))
    if missing:
        plan = Plan.of(_ordered(samples, missing), size)
        with plain_errors(store.path):
            plan.write(folder)
        yield plan


def _ordered(samples: Samples, missing: set[str]) -> list[str]:
    """Keys in the order of the data; texts by length, the longest first, to save padding."""
    keys = [(key, index) for index, key in enumerate(samples.keys) if key in missing]
    if samples.modality == "text":
        keys.sort(key=lambda pair: -_length(samples, pair[1]))
    return [key for key, _ in keys]


def _length(samples: Samples, index: int) -> int:
    try:
        return len(samples.load(index))
    except Unreadable:
        return 0


def _require_fitting(network: Network, samples: Samples) -> None:
    if network.modality != samples.modality:
        raise LayerwiseError(
            f"{network.name} takes samples of the kind {network.modality!r}, and "
            f"{samples.source!r} holds {samples.modality!r}; choose a network or data to match"
        )


def _require_sound(*, batch_size: int | None, commit_rows: int, dtype: str) -> None:
    for name, value in (("batch_size", batch_size), ("commit_rows", commit_rows)):
        if value is not None and value < 1:
            raise LayerwiseError(f"{name}={value}; it must be at least 1")
    if dtype not in get_args(StoredType):
        raise unknown("type of number to store", dtype, get_args(StoredType))


def _usual_batch_size(network: Network) -> int:
    # Measured: per picture, EfficientNet-Lite0 and DINOv2-S are fastest on a CPU at 4 to 8, because
    # larger activations fall out of its caches and back to the system; MiniLM gains up to 32.
    if network.device.type == "cpu":
        return 8 if network.modality == "image" else 32
    return 64


def values_of(target: Target) -> Values:
    """A target as a store takes it: numbers, or words with None where missing."""
    if target.kind == "number":
        return target.values
    return [target.classes[value] if value >= 0 else None for value in target.values.tolist()]


def _present(samples: Samples, store: Store) -> int:
    return len(set(samples.keys) & set(store.keys()))


def _recipe(
    network: Network, samples: Samples, choice: Wanted, dtype: StoredType, size: int
) -> Recipe:
    about = {
        "network": network.source,
        "data": samples.source,
        "batch size": str(size),
        "device": str(network.device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "layerwise": __version__,
        "torch": torch.__version__,
        "lance": version("pylance"),
    }
    # A function's default repr ends with where it lies in memory, which differs in every run.
    preparation = re.sub(r" at 0x[0-9a-f]+", "", repr(network.prepare))
    return Recipe(network.weights_hash, preparation, dtype, choice.columns, about)
