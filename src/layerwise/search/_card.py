"""What an index was made with: network, layers, poolings, and how they are joined.

`index.json` says it in plain JSON, `whiten.safetensors` holds the whitening where there is one.
Both are written before the first item, so that an index can always be gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from safetensors.torch import load_file, save_file

from layerwise.errors import LayerwiseError
from layerwise.features import Column, First, GeM, Last, Max, Mean, Recipe, Whiten
from layerwise.features._disk import write_whole
from layerwise.features.laws import Pooling
from layerwise.search._choose import Choice
from layerwise.search._descriptor import Descriptor

_FORMAT = 1
_NAME, _WHITEN = "index.json", "whiten.safetensors"

POOLINGS: tuple[Pooling, ...] = (Mean(), Max(), GeM(), First(), Last())
"""All that an index may be made with."""


@final
@dataclass(frozen=True)
class Card:
    """What an index was made with.

    Args:
        reading: network, preparation and the columns that are joined.
        modality: kind of one sample.
        descriptor: joins the columns.
        choice: what was tried before, or None where the layers were named.
    """

    reading: Recipe
    modality: str
    descriptor: Descriptor
    choice: Choice | None = None

    @property
    def network(self) -> str:
        """The words that open the network."""
        return self.reading.about.get("network", "")

    @property
    def layers(self) -> tuple[str, ...]:
        """Addresses of the layers."""
        return tuple(dict.fromkeys(column.layer for column in self.reading.columns))

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """How they are pooled."""
        named = {column.pooling for column in self.reading.columns}
        return tuple(pooling for pooling in POOLINGS if pooling.name in named)

    @property
    def width(self) -> int:
        """Length of the joined vectors."""
        whiten = self.descriptor.whiten
        wide = sum(column.width for column in self.reading.columns)
        return wide if whiten is None else whiten.weight.shape[1]

    def write(self, folder: Path) -> None:
        """Write it down, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.descriptor.whiten is not None:
            # Under a name of its own first: whoever reads sees the old file or the new one.
            state = self.descriptor.whiten.state_dict()
            tensors = {name: value.contiguous() for name, value in state.items()}
            save_file(tensors, folder / f"{_WHITEN}.writing")
            (folder / f"{_WHITEN}.writing").replace(folder / _WHITEN)
        values = {
            "format": _FORMAT,
            "modality": self.modality,
            "reading": json.loads(self.reading.to_json()),
            "whitened": self.descriptor.whiten is not None,
            "choice": self.choice and asdict(self.choice),
        }
        write_whole(folder / _NAME, json.dumps(values, ensure_ascii=False, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """Read it; None where there is none.

        Raises:
            LayerwiseError: it is damaged, or was written by a newer version.
        """
        path = folder / _NAME
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] > _FORMAT:
                raise LayerwiseError(
                    f"the index {str(folder)!r} was written by a newer layerwise (format "
                    f"{values['format']}, this one reads up to {_FORMAT}); update layerwise"
                )
            return _read(values, folder)
        except (ValueError, KeyError, TypeError, OSError) as error:
            if isinstance(error, LayerwiseError):
                raise
            raise LayerwiseError(
                f"{str(path)!r} is damaged ({error}); move the index away and make it again"
            ) from None


def _read(values: dict[str, Any], folder: Path) -> Card:
    reading = Recipe.from_json(json.dumps(values["reading"]))
    whiten = None
    if values["whitened"]:
        tensors = load_file(folder / _WHITEN)
        whiten = Whiten(tensors["mean"], tensors["weight"])
    choice = values["choice"] and Choice(
        **(values["choice"] | {"names": tuple(values["choice"]["names"])})
    )
    descriptor = Descriptor([column.name for column in reading.columns], whiten)
    return Card(reading, values["modality"], descriptor, choice)


def card_of(reading: Recipe, modality: str, descriptor: Descriptor, choice: Choice | None) -> Card:
    """The card of a descriptor of some columns of a reading, in the descriptor's order."""
    named = {column.name: column for column in reading.columns}
    columns: Sequence[Column] = [named[name] for name in descriptor.names]
    return Card(replace(reading, columns=tuple(columns)), modality, descriptor, choice)
