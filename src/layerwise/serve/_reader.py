"""A reader that answers: labels with probabilities, or quantities with intervals, and features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from fastapi import FastAPI
from pydantic import Field

from layerwise.atlas import Reader
from layerwise.atlas._predictions import joined
from layerwise.data import SetAside, Unreadable
from layerwise.serve._answers import Answer, Answers, each_at
from layerwise.serve._bench import Bench
from layerwise.serve._inputs import Form, Modality, samples_of
from layerwise.serve._limits import Limits
from layerwise.serve._service import Front


class _Read(Answer):
    """What every prediction says."""

    unfamiliar: bool = Field(description="Whether it is unlike anything the reader was fitted on.")
    strangeness: float | None = Field(
        description="Distance to what the reader was fitted on; unfamiliar above 1."
    )
    truncated: bool = Field(description="Whether the text is longer than the network takes.")


class Labelled(_Read):
    """A class, with the probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float] = Field(description="Calibrated, by class.")


class Measured(_Read):
    """A quantity, with its interval."""

    value: float
    low: float
    high: float


class Embedded(Answer):
    """The features that the reader reads."""

    features: list[float]


Row = dict[str, float | str | bool | dict[str, float] | None]


@final
class ReaderService:
    """Answers with a reader.

    Args:
        reader: of pictures or texts.
        modality: which of the two.
    """

    kind = "reader"

    def __init__(self, reader: Reader, modality: Modality) -> None:
        self.reader = reader
        self.modality = modality

    @property
    def front(self) -> Front:
        """What the page says of it."""
        facts, quality = self.reader.facts, self.reader.facts.quality
        layers = " + ".join(facts.layers)
        lead = (
            f"{facts.target} is read off {layers} of {facts.network}: {quality.metric} "
            f"{quality.score:.3f} on samples that neither fitted nor chose it (95 % interval "
            f"{quality.low:.3f} to {quality.high:.3f}); knowing nothing gives {quality.chance:.3f}."
        )
        told = (
            ("target", facts.target),
            ("classes", ", ".join(facts.classes) or "none: it is a quantity"),
            ("network", facts.network),
            ("layer", layers),
            ("readout", facts.readout),
            ("fitted on", f"{facts.samples[0]} samples of {facts.data}"),
        )
        return Front(f"Which {facts.target}?", lead, "predict", told, {"target": facts.target})

    def attach(self, app: FastAPI, bench: Bench, limits: Limits) -> None:
        """Add `/predict` and `/embed`."""
        form = Form(self.modality, limits)
        classes = bool(self.reader.facts.classes)
        kind: type[_Read] = Labelled if classes else Measured

        each_at(
            app,
            "/predict",
            bench,
            self.predict,
            lambda i, name, row: kind(input=i, name=name, **row),
            form=form,
            model=Answers[Labelled] if classes else Answers[Measured],
            said="Answer for each input; those of a request are read in one forward.",
        )
        each_at(
            app,
            "/embed",
            bench,
            self.embed,
            lambda i, name, row: Embedded(input=i, name=name, features=row),
            form=form,
            model=Answers[Embedded],
            said="The features of each input, as the reader's head reads them.",
        )

    def predict(self, contents: Sequence[str | bytes]) -> list[Row | Unreadable]:
        """A row of values for each input, or why there is none."""
        samples = samples_of(contents, self.modality)
        found = joined(list(self.reader.stream(samples, batch_size=len(samples), workers=0)))
        cut_short = set(found.truncated)
        rows: dict[str, Row | Unreadable] = {**_left(found.set_aside)}
        for name, values, far in zip(
            found.names, found.values.tolist(), found.strangeness.tolist(), strict=True
        ):
            row: Row = {
                "unfamiliar": far > 1,
                "strangeness": far if math.isfinite(far) else None,
                "truncated": name in cut_short,
            }
            if found.classes:
                by_class = dict(zip(found.classes, values, strict=True))
                best = max(by_class, key=by_class.__getitem__)
                row |= {"label": best, "probability": by_class[best], "probabilities": by_class}
            else:
                value, margin = values[0], found.margin
                row |= {"value": value, "low": value - margin, "high": value + margin}
            rows[name] = row
        return [rows[name] for name in samples.names]

    def embed(self, contents: Sequence[str | bytes]) -> list[list[float] | Unreadable]:
        """The features of each input, or why there are none."""
        samples = samples_of(contents, self.modality)
        rows: dict[str, list[float] | Unreadable] = {}
        for names, features, aside in self.reader.embed(
            samples, batch_size=len(samples), workers=0
        ):
            rows |= dict(zip(names, features.tolist(), strict=True))
            rows |= _left(aside)
        return [rows[name] for name in samples.names]


def _left(aside: Sequence[SetAside]) -> dict[str, Unreadable]:
    return {each.name: Unreadable(each.reason) for each in aside}
