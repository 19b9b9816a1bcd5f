"""An atlas that answers: what each layer makes of an input, beside what it makes of the data.

The networks are opened again and must be those of the atlas. Neighbours are the stored samples of
highest cosine between features standardised over all of them, as on the atlas' own page. A readout
is fitted anew with the penalty that validation chose, on all stored samples, since nothing is
measured with it here; the score beside it is the atlas' own, of the one fitted on its training
part. What a layer sees are the first three principal components of this one input.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor, nn

from layerwise import models, report
from layerwise.atlas import Atlas, load
from layerwise.atlas._atlas import NetworkRow, Score
from layerwise.atlas._show import coloured, on_grid
from layerwise.atlas._survey import store_of
from layerwise.data import Unreadable
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Column, Ridge, Store
from layerwise.models import Network
from layerwise.search import Behind, Hit, Logistic
from layerwise.search._memory import plain
from layerwise.serve._answers import PROBLEMS, Answer, Answers, answered
from layerwise.serve._bench import Bench
from layerwise.serve._features import Seen, columns_of, seen
from layerwise.serve._inputs import Form, Modality, samples_of
from layerwise.serve._limits import Limits
from layerwise.serve._pictures import Thumbnails, excerpt
from layerwise.serve._service import Front
from layerwise.taps import read
from layerwise.taps._columns import Wanted

Progress = Callable[[str, int, int], None]

_NEAREST = 6
_AT_ONCE = 8
_COMPARED = 20_000
"""Stored samples that an input is compared with; of more, as many are drawn."""


class Near(BaseModel):
    """A stored sample that is near."""

    key: str = Field(description="Made from its content; its picture is at `/items/{key}`.")
    name: str
    score: float = Field(description="Cosine of the features, standardised.")
    targets: dict[str, str | float | None] = Field(description="What is known of it.")
    text: str | None = Field(description="Its beginning, if it is a text and is still there.")


class Reading(BaseModel):
    """What a readout of a layer says."""

    target: str
    answer: str | float
    pooling: str
    metric: str = Field(description="Of the next, accuracy or R2.")
    test: float = Field(description="What this readout scores on the atlas' test samples.")


class Layer(BaseModel):
    """What one layer makes of an input."""

    network: str
    layer: str
    nearest: list[Near] = Field(description="Of the atlas' samples, the nearest first.")
    readings: list[Reading] = Field(description="One for each target that a readout was fitted to.")
    sees: str | None = Field(
        description="A picture of what it sees, as a data URI; none without a grid of places."
    )


class Looked(Answer):
    """What every layer makes of one input."""

    layers: list[Layer] = Field(description="In the order of execution, network by network.")


@final
@dataclass(frozen=True)
class _Readout:
    """A readout of one column.

    Args:
        score: what the atlas says of it.
        metric: of the score.
        column: what it reads.
        head: from features to scores of classes, or to a quantity.
        classes: their names; empty for a quantity.
    """

    score: Score
    metric: str
    column: str
    head: nn.Linear
    classes: tuple[str, ...]

    def __call__(self, features: Mapping[str, Tensor], row: int) -> Reading:
        """Read one sample."""
        out = self.head(features[self.column][row]).detach()
        answer = self.classes[int(out.argmax())] if self.classes else float(out[0])
        score = self.score
        return Reading(
            target=score.target,
            answer=answer,
            pooling=score.pooling,
            metric=self.metric,
            test=score.test,
        )


@final
class _Gallery:
    """Stored features of one column, to be compared with.

    Args:
        features: `[n d]`.
    """

    def __init__(self, features: Tensor) -> None:
        self.centre = features.mean(0)
        self.spread = features.std(0).clamp_min(1e-6)
        self.unit = self._unit(features)

    def near(self, features: Tensor) -> tuple[list[list[int]], list[list[float]]]:
        """Rows of the nearest for each of some features, and their cosines."""
        closeness = self._unit(features) @ self.unit.T
        best = closeness.topk(min(_NEAREST, len(self.unit)), 1)
        return best.indices.tolist(), best.values.tolist()

    def _unit(self, features: Tensor) -> Tensor:
        return nn.functional.normalize((features - self.centre) / self.spread, dim=1)


@final
@dataclass(frozen=True)
class _Surveyed:
    """A network of an atlas, opened again, with what is stored of it.

    Args:
        network: it.
        wanted: what is read of it.
        layers: columns of the layers' means, which are shown.
        keys: of the stored samples that are compared with.
        galleries: their features, by column.
        readouts: by layer.
    """

    network: Network
    wanted: Wanted
    layers: tuple[Column, ...]
    keys: tuple[str, ...]
    galleries: Mapping[str, _Gallery]
    readouts: Mapping[str, tuple[_Readout, ...]]


@final
class AtlasService:
    """Answers with an atlas.

    Args:
        atlas: what was measured.
        surveyed: its networks.
        known: name and targets of every stored sample, by its key.
        modality: pictures or texts.
    """

    kind = "atlas"

    def __init__(
        self,
        atlas: Atlas,
        surveyed: Sequence[_Surveyed],
        known: Mapping[str, Hit],
        modality: Modality,
    ) -> None:
        self.atlas = atlas
        self.surveyed = surveyed
        self.known = known
        self.modality = modality
        self.behind = Behind()
        self.shown = {each.key: each for each in atlas.shown}
        with TemporaryDirectory() as folder:
            # Drawn anew from the numbers: a page in a folder might bring a script along.
            self.page = report.write(atlas, folder).read_text(encoding="utf-8")

    @classmethod
    def open(cls, folder: Path, device: str, progress: Progress | None) -> AtlasService:
        """Open an atlas and its networks, and fit its readouts.

        Raises:
            LayerwiseError: one of them cannot be opened, the weights are not those of the atlas,
                or its features are gone.
        """
        atlas = load(folder)
        modality = atlas.networks[0].modality if atlas.networks else "none"
        if modality not in ("image", "text"):
            raise LayerwiseError(
                f"the atlas {str(folder)!r} is of samples of the kind {modality!r}; only those of "
                "pictures and of texts can be served"
            )
        known: dict[str, Hit] = {}
        surveyed = [
            _surveyed(atlas, row, folder, device=device, known=known, progress=progress)
            for row in atlas.networks
        ]
        return cls(atlas, surveyed, known, "image" if modality == "image" else "text")

    @property
    def front(self) -> Front:
        """What the page says of it."""
        made = self.atlas.provenance
        named = [(each.network.name, c.layer) for each in self.surveyed for c in each.layers]
        several = len(self.surveyed) > 1
        first = self.atlas.choices[0].best if self.atlas.choices else None
        chosen = (first.network, first.layer) if first else named[-1]
        noun = "picture" if self.modality == "image" else "text"
        networks = " and ".join(each.network.name for each in self.surveyed)
        compared = max(len(each.keys) for each in self.surveyed)
        drawn = f", of which {compared:,} drawn ones" if compared < made.samples else ""
        lead = (
            f"Give a {noun}: each of {len(named)} layers of {networks} shows what it takes for "
            f"similar among {made.samples:,} samples of {made.data}{drawn}, and what is read off "
            "it."
        )
        told = (
            ("networks", networks),
            ("data", made.data),
            ("samples", f"{made.samples:,}"),
            ("targets", ", ".join(row.target for row in self.atlas.targets) or "none"),
            ("made", made.made),
        )
        more = {
            "ways": [f"{network} {layer}" if several else layer for network, layer in named],
            "start": named.index(chosen) if chosen in named else len(named) - 1,
        }
        return Front("What does each layer see?", lead, "look", told, more)

    def attach(self, app: FastAPI, bench: Bench, limits: Limits) -> None:
        """Add `/look`, `/atlas` and `/items/{key}`."""
        form = Form(self.modality, limits)

        async def look(request: Request) -> Answers[Looked]:
            """What every layer makes of each input."""
            given, _ = await form.read(request)
            answers, left = await answered(
                bench,
                given,
                self.look,
                lambda i, name, layers: Looked(input=i, name=name, layers=layers),
            )
            return Answers(answers=answers, set_aside=left)

        async def page() -> HTMLResponse:
            """The page of the atlas."""
            return HTMLResponse(self.page)

        app.add_api_route(
            "/look",
            look,
            methods=["POST"],
            response_model=Answers[Looked],
            responses=PROBLEMS,
            openapi_extra=form.schema,
        )
        app.add_api_route(
            "/atlas", page, methods=["GET"], response_class=HTMLResponse, include_in_schema=False
        )
        if self.modality == "image":
            Thumbnails(self._load).attach(app, bench)

    def look(self, contents: Sequence[str | bytes]) -> list[list[Layer] | Unreadable]:
        """What every layer makes of each input, or why it cannot be read."""
        found: list[list[Layer] | Unreadable] = []
        for start in range(0, len(contents), _AT_ONCE):
            found += self._few(contents[start : start + _AT_ONCE])
        return found

    def _few(self, contents: Sequence[str | bytes]) -> list[list[Layer] | Unreadable]:
        samples = samples_of(contents, self.modality)
        left: dict[int, Unreadable] = {}
        layers: dict[int, list[Layer]] = {place: [] for place in range(len(contents))}
        for each in self.surveyed:
            given = seen(each.network, samples, each.wanted)
            left |= given.left
            if given.places:
                for place, mine in zip(given.places, self._by_layer(each, given), strict=True):
                    layers[place] += mine
        return [left.get(place, layers[place]) for place in layers]

    def _by_layer(self, each: _Surveyed, given: Seen) -> list[list[Layer]]:
        """Layers of a network, for each of some inputs."""
        pictures = _pictures(each.network, given, each.layers) if self.modality == "image" else {}
        found: list[list[Layer]] = [[] for _ in given.places]
        for column in each.layers:
            rows, scores = each.galleries[column.name].near(given.features[column.name])
            for i, mine in enumerate(found):
                pairs = zip(rows[i], scores[i], strict=True)
                mine.append(
                    Layer(
                        network=each.network.name,
                        layer=column.layer,
                        nearest=[self._near(each.keys[row], score) for row, score in pairs],
                        readings=[
                            readout(given.features, i)
                            for readout in each.readouts.get(column.layer, ())
                        ],
                        sees=pictures[column.layer][i] if column.layer in pictures else None,
                    )
                )
        return found

    def _near(self, key: str, score: float) -> Near:
        hit = self.known[key]
        text = None
        if self.modality == "text":
            shown = self.shown.get(key)
            text = shown.text if shown else self._excerpt(hit)
        return Near(key=key, name=hit.name, score=score, targets=dict(hit.targets), text=text)

    def _excerpt(self, hit: Hit) -> str | None:
        try:
            return excerpt(self.behind.load(hit))
        except Unreadable:
            return None

    def _load(self, key: str) -> object:
        """A sample from the data, or where they are gone, the small picture of the page."""
        if key not in self.known:
            raise unknown("sample", key[:80], ())
        try:
            return self.behind.load(self.known[key])
        except Unreadable:
            shown = self.shown.get(key)
            if shown is None or not shown.picture:
                raise
            return Image.open(io.BytesIO(base64.b64decode(shown.picture.partition(",")[2])))


def _surveyed(
    atlas: Atlas,
    row: NetworkRow,
    folder: Path,
    *,
    device: str,
    known: dict[str, Hit],
    progress: Progress | None,
) -> _Surveyed:
    """Open a network of an atlas; what is known of its samples is added to `known`."""
    network = models.open(row.source, device=device)
    store = Store.open(store_of(folder, row.network))
    wanted = columns_of(store.recipe, network, f"the atlas {str(folder)!r}")
    keys = _drawn(store.keys())
    names = plain(store.values("name", keys))
    told = {name: plain(store.values(name, keys)) for name in store.targets}
    for i, key in enumerate(keys):
        targets = {name: values[i] for name, values in told.items()}
        known.setdefault(key, Hit(key, str(names[i]), atlas.provenance.data, 1.0, targets))
    layers = tuple(column for column in store.columns if column.pooling == "mean")
    galleries: dict[str, _Gallery] = {}
    readouts: dict[str, tuple[_Readout, ...]] = {}
    best = _best(atlas, row.network, {(c.layer, c.pooling) for c in store.columns})
    for done, column in enumerate(store.columns):
        if progress is not None:
            progress(f"fitting readouts of {network.name}", done, len(store.columns))
        features = store.load(column, keys).float()
        if column in layers:
            galleries[column.name] = _Gallery(features)
        mine = [
            _fitted(score, atlas, column, features, told[score.target])
            for score in best
            if (score.layer, score.pooling) == (column.layer, column.pooling)
        ]
        readouts[column.layer] = (*readouts.get(column.layer, ()), *mine)
    return _Surveyed(network, wanted, layers, keys, galleries, readouts)


def _drawn(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(keys) <= _COMPARED:
        return keys
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
    return tuple(keys[i] for i in order[:_COMPARED].tolist())


def _best(atlas: Atlas, network: str, stored: set[tuple[str, str]]) -> list[Score]:
    """The linear readout that validation prefers, of each target and layer."""
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
    atlas: Atlas,
    column: Column,
    features: Tensor,
    values: Sequence[str | float | None],
) -> _Readout:
    target = next(row for row in atlas.targets if row.target == score.target)
    rows = [i for i, value in enumerate(values) if value is not None]
    assert score.penalty is not None
    if target.kind == "class":
        classes = tuple(sorted({str(values[i]) for i in rows}))
        labels = torch.tensor([classes.index(str(values[i])) for i in rows])
        logistic = Logistic.fit(features[rows], labels, penalties=(score.penalty,), tolerance=1e-4)
        return _Readout(score, target.metric, column.name, logistic.linear(0), classes)
    answers = torch.tensor([float(values[i] or 0) for i in rows], dtype=torch.float64)
    ridge = Ridge.fit(features[rows], answers, penalties=(score.penalty,))
    return _Readout(score, target.metric, column.name, ridge.linear(0), ())


def _pictures(network: Network, given: Seen, layers: Sequence[Column]) -> dict[str, list[str]]:
    """What each layer sees in each input, by the layer."""
    found: dict[str, list[str]] = {}
    inputs = network.batch(given.prepared)
    for layer, value in read(network, inputs, [column.layer for column in layers]).items():
        grid: Any = on_grid(value, network, layer)
        if grid is not None:
            found[layer] = [coloured(grid[i : i + 1])[0] for i in range(len(grid))]
    return found
