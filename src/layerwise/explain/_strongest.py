"""The real pictures that a unit answers to most: what a visualisation has to be held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.explain._differentiable import differentiable
from layerwise.explain._response import Unit, layer_of, respond
from layerwise.models import Network


@final
@dataclass(frozen=True)
class Answered:
    """Samples that a unit answers to.

    Args:
        rows: the samples it answers to most, in falling order.
        answers: to these.
        everyone: its answer to every sample that was shown.
    """

    rows: Int[Tensor, " k"]
    answers: Float[Tensor, " k"]
    everyone: Float[Tensor, " n"]


def strongest(
    network: Network,
    samples: Samples,
    *,
    layer: str | None = None,
    units: tuple[Unit, ...] = (0,),
    count: int = 8,
    batch: int = 32,
    progress: Progress | None = None,
) -> tuple[Answered, ...]:
    """Find the samples that some units answer to most, all in one pass.

    Args:
        network: the network.
        samples: of the kind that the network takes.
        layer: address of one layer; without it, the network's output.
        units: numbers of channels or classes, or directions `[d]`.
        count: samples that are named for each unit.
        batch: samples in one forward.
        progress: called as `progress(stage, done, total)` after every batch.

    Raises:
        LayerwiseError: no samples, or there is no such layer or unit.
    """
    if len(samples) == 0:
        raise LayerwiseError("there are no samples to look among; give at least one")
    chosen = layer_of(network, layer)
    found: list[Tensor] = []
    with differentiable(network), torch.no_grad():
        for start in range(0, len(samples), batch):
            stop = min(start + batch, len(samples))
            prepared = [network.prepare(samples.load(row)) for row in range(start, stop)]
            inputs = network.batch(prepared)
            found.append(torch.stack([respond(network, inputs, chosen, unit) for unit in units]))
            if progress is not None:
                progress("photographs", stop, len(samples))
    answers = torch.cat(found, 1).cpu()
    best = [each.argsort(descending=True, stable=True)[:count] for each in answers]
    return tuple(Answered(rows, each[rows], each) for rows, each in zip(best, answers, strict=True))
