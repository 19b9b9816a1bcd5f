"""The networks of an atlas, opened again, with what is stored of the data.

Each must still have the atlas' weights and preparation. A readout is fitted anew with the penalty
that validation chose, on all stored samples, since nothing is measured with it; its score is the
atlas' own, of the one that was fitted on the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise import models
from layerwise.atlas import Atlas
from layerwise.atlas._atlas import NetworkRow, Score, TargetRow
from layerwise.atlas._pass import store_of
from layerwise.features import Column, Ridge, Store
from layerwise.models import Network
from layerwise.search import Logistic
from layerwise.search._memory import plain
from layerwise.serve._features import columns_of
from layerwise.taps._columns import Wanted

Progress = Callable[[str, int, int], None]
Value = str | float | None

COMPARED = 20_000
"""Stored samples that an input is compared with; of more, as many are drawn."""


@final
class Gallery:
    """Stored features of one column, to be compared with as on the page of an atlas.

    Args:
        features: one row for each stored sample.

    Example:
        >>> gallery = Gallery(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
        >>> gallery.near(torch.tensor([[2.0, 0.0]]), count=1)[0]
        [[1]]
    """

    def __init__(self, features: Float[Tensor, "n d"]) -> None:
        self.centre = features.mean(0)
        self.spread = features.std(0).clamp_min(1e-6)
        self.unit = self._unit(features)

    def near(
        self, features: Float[Tensor, "m d"], *, count: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Rows of the nearest for each of some features, and the cosines."""
        closeness = self._unit(features) @ self.unit.T
        best = closeness.topk(min(count, len(self.unit)), 1)
        return best.indices.tolist(), best.values.tolist()

    def _unit(self, features: Tensor) -> Tensor:
        return nn.functional.normalize((features - self.centre) / self.spread, dim=1)


@final
@dataclass(frozen=True)
class Readout:
    """A readout of one column.

    Args:
        score: what the atlas says of it.
        metric: of the score.
        column: name of what it reads.
        head: from features to scores of classes, or to a quantity.
        classes: their names; empty for a quantity.
    """

    score: Score
    metric: str
    column: str
    head: nn.Linear
    classes: tuple[str, ...]

    def __call__(self, features: Float[Tensor, " d"]) -> str | float:
        """The class or the quantity."""
        with torch.no_grad():
            out = self.head(features)
        return self.classes[int(out.argmax())] if self.classes else float(out[0])


@final
@dataclass(frozen=True)
class Surveyed:
    """A network of an atlas.

    Args:
        network: it, opened again.
        wanted: what is read of it.
        layers: columns of the layers' means, which are shown.
        keys: of the stored samples.
        names: of the same.
        targets: what is known of the same, by name.
        galleries: features of the same, by column.
        readouts: by layer.
    """

    network: Network
    wanted: Wanted
    layers: tuple[Column, ...]
    keys: tuple[str, ...]
    names: Sequence[Value]
    targets: Mapping[str, Sequence[Value]]
    galleries: Mapping[str, Gallery]
    readouts: Mapping[str, tuple[Readout, ...]]

    @classmethod
    def open(
        cls, atlas: Atlas, row: NetworkRow, folder: Path, *, device: str, progress: Progress | None
    ) -> Surveyed:
        """Open a network of an atlas.

        Args:
            atlas: what was measured.
            row: which of its networks.
            folder: of the atlas.
            device: where the network goes.
            progress: called as `progress(stage, done, total)`.

        Raises:
            LayerwiseError: the network cannot be opened or is another one now, or the features are
                gone.
        """
        network = models.open(row.source, device=device)
        store = Store.open(store_of(folder, row.network))
        wanted = columns_of(store.recipe, network, f"the atlas {str(folder)!r}")
        keys = _drawn(store.keys())
        told = {name: plain(store.values(name, keys)) for name in store.targets}
        layers = tuple(column for column in store.columns if column.pooling == "mean")
        galleries: dict[str, Gallery] = {}
        readouts: dict[str, list[Readout]] = {column.layer: [] for column in store.columns}
        best = _best(atlas, row.network, store.columns)
        rows = {target.target: target for target in atlas.targets}
        for done, column in enumerate(store.columns):
            if progress is not None:
                progress(f"fitting readouts of {network.name}", done, len(store.columns))
            features = store.load(column, keys).float()
            if column in layers:
                galleries[column.name] = Gallery(features)
            readouts[column.layer] += [
                _fitted(score, rows[score.target], column, features, told[score.target])
                for score in best
                if (score.layer, score.pooling) == (column.layer, column.pooling)
            ]
        return cls(
            network,
            wanted,
            layers,
            keys,
            plain(store.values("name", keys)),
            told,
            galleries,
            {layer: tuple(found) for layer, found in readouts.items()},
        )


def _drawn(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(keys) <= COMPARED:
        return keys
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
    return tuple(keys[i] for i in order[:COMPARED].tolist())


def _best(atlas: Atlas, network: str, columns: Sequence[Column]) -> list[Score]:
    """The linear readout that validation prefers, of each target and layer."""
    stored = {(column.layer, column.pooling) for column in columns}
    best: dict[tuple[str, str], Score] = {}
    for score in atlas.scores:
        at = score.target, score.layer
        if (
            score.network == network
            and score.readout == "linear"
            and score.penalty is not None
            and (score.layer, score.pooling) in stored
            and (at not in best or score.validation > best[at].validation)
        ):
            best[at] = score
    return list(best.values())


def _fitted(
    score: Score,
    target: TargetRow,
    column: Column,
    features: Float[Tensor, "n d"],
    values: Sequence[Value],
) -> Readout:
    known = [(i, value) for i, value in enumerate(values) if value is not None]
    rows = features[[i for i, _ in known]]
    penalties = () if score.penalty is None else (score.penalty,)
    if target.kind == "class":
        classes = tuple(sorted({str(value) for _, value in known}))
        labels = torch.tensor([classes.index(str(value)) for _, value in known])
        logistic = Logistic.fit(rows, labels, penalties=penalties, tolerance=1e-4)
        return Readout(score, target.metric, column.name, logistic.linear(0), classes)
    answers = torch.tensor([float(value) for _, value in known], dtype=torch.float64)
    ridge = Ridge.fit(rows, answers, penalties=penalties)
    return Readout(score, target.metric, column.name, ridge.linear(0), ())
