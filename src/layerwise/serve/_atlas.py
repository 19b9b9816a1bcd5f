"""An atlas that answers: what each layer makes of an input, beside what it makes of the data.

Neighbours are the stored samples of highest cosine between features standardised over all of them,
as on the atlas' own page. What a layer sees are the first three principal components of the places
of this one input.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from layerwise import report
from layerwise.atlas import Atlas, load
from layerwise.atlas._show import coloured, on_grid
from layerwise.data import Unreadable
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Column
from layerwise.models import Network
from layerwise.search import Behind, Hit
from layerwise.serve._answers import Answer, Answers, each_at
from layerwise.serve._bench import Bench
from layerwise.serve._features import Seen, seen
from layerwise.serve._inputs import Form, Modality, samples_of
from layerwise.serve._limits import Limits
from layerwise.serve._pictures import Thumbnails, excerpt
from layerwise.serve._service import Front
from layerwise.serve._surveyed import Readout, Surveyed
from layerwise.taps import read

Progress = Callable[[str, int, int], None]

_NEAREST = 6
_AT_ONCE = 8
"""Inputs whose layers are all held in memory."""


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
class AtlasService:
    """Answers with an atlas.

    Args:
        atlas: what was measured.
        surveyed: its networks.
        modality: pictures or texts.
    """

    kind = "atlas"

    def __init__(self, atlas: Atlas, surveyed: Sequence[Surveyed], modality: Modality) -> None:
        self.atlas = atlas
        self.surveyed = surveyed
        self.modality = modality
        self.known = {
            key: Hit(key, str(each.names[i]), atlas.provenance.data, 1.0, _of(each, i))
            for each in surveyed
            for i, key in enumerate(each.keys)
        }
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
        surveyed = [
            Surveyed.open(atlas, row, folder, device=device, progress=progress)
            for row in atlas.networks
        ]
        return cls(atlas, surveyed, "image" if modality == "image" else "text")

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

        async def page() -> HTMLResponse:
            """The page of the atlas."""
            return HTMLResponse(self.page)

        each_at(
            app,
            "/look",
            bench,
            self.look,
            lambda i, name, layers: Looked(input=i, name=name, layers=layers),
            form=form,
            model=Answers[Looked],
            said="What every layer makes of each input.",
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

    def _by_layer(self, each: Surveyed, given: Seen) -> list[list[Layer]]:
        """Layers of a network, for each of some inputs."""
        pictures = _pictures(each.network, given, each.layers) if self.modality == "image" else {}
        found: list[list[Layer]] = [[] for _ in given.places]
        for column in each.layers:
            gallery = each.galleries[column.name]
            rows, scores = gallery.near(given.features[column.name], count=_NEAREST)
            for i, mine in enumerate(found):
                pairs = zip(rows[i], scores[i], strict=True)
                mine.append(
                    Layer(
                        network=each.network.name,
                        layer=column.layer,
                        nearest=[self._near(each.keys[row], score) for row, score in pairs],
                        readings=[
                            _reading(readout, given.features[readout.column][i])
                            for readout in each.readouts[column.layer]
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


def _of(each: Surveyed, row: int) -> dict[str, str | float | None]:
    return {name: values[row] for name, values in each.targets.items()}


def _reading(readout: Readout, features: Tensor) -> Reading:
    return Reading(
        target=readout.score.target,
        answer=readout(features),
        pooling=readout.score.pooling,
        metric=readout.metric,
        test=readout.score.test,
    )


def _pictures(network: Network, given: Seen, layers: Sequence[Column]) -> dict[str, list[str]]:
    """What each layer sees in each input, by the layer."""
    found: dict[str, list[str]] = {}
    inputs = network.batch(given.prepared)
    for layer, value in read(network, inputs, [column.layer for column in layers]).items():
        grid: Any = on_grid(value, network, layer)
        if grid is not None:
            found[layer] = [coloured(grid[i : i + 1])[0] for i in range(len(grid))]
    return found
