"""What a reader says of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.data import SetAside

Cell = str | float | bool | None


@final
@dataclass(frozen=True)
class Predictions:
    """Answers for samples, and what could not be answered.

    Args:
        names: of the samples that were read.
        classes: names of the classes; empty for a quantity.
        values: calibrated probability of each class, or one quantity.
        strangeness: distance to what was fitted; above 1 the sample is unlike all of it.
        margin: half the width of the interval of a quantity.
        set_aside: samples that could not be read, with reasons.
        truncated: names of texts that were longer than the network takes.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    values: Float[Tensor, "n c"]
    strangeness: Float[Tensor, " n"]
    margin: float
    set_aside: tuple[SetAside, ...]
    truncated: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Most probable class of each sample; empty for a quantity."""
        return (
            tuple(self.classes[i] for i in self.values.argmax(1).tolist()) if self.classes else ()
        )

    @property
    def unfamiliar(self) -> Bool[Tensor, " n"]:
        """Which samples are unlike anything the reader was fitted on."""
        return self.strangeness > 1

    def rows(self, target: str) -> Iterator[dict[str, Cell]]:
        """One row of a table for each sample.

        Args:
            target: name of the column of answers.
        """
        far = self.strangeness.tolist()
        for i, (name, values) in enumerate(zip(self.names, self.values.tolist(), strict=True)):
            row: dict[str, Cell] = {"name": name}
            if self.classes:
                best = max(range(len(values)), key=values.__getitem__)
                row |= {target: self.classes[best], "probability": values[best]}
                row |= {
                    f"probability of {label}": value
                    for label, value in zip(self.classes, values, strict=True)
                }
            else:
                low, high = values[0] - self.margin, values[0] + self.margin
                row |= {target: values[0], "low": low, "high": high}
            yield row | {"unfamiliar": far[i] > 1, "strangeness": far[i]}


def joined(parts: Sequence[Predictions]) -> Predictions:
    """All parts as one; there is at least one."""
    return Predictions(
        tuple(name for part in parts for name in part.names),
        parts[0].classes,
        torch.cat([part.values for part in parts]),
        torch.cat([part.strangeness for part in parts]),
        parts[0].margin,
        tuple(aside for part in parts for aside in part.set_aside),
        tuple(name for part in parts for name in part.truncated),
    )
