"""What every layer has concepts of: the survey behind `layerwise concepts`.

For each layer the concepts of its places, the samples in which each is most present, and the
samples that excite its most selective units most; and beside them how far to believe the concepts:
what they leave out of the layer, and how often the network's answer stays when only they go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._exemplars import exemplars
from layerwise.explain._invertible_concepts import (
    ConceptExplanation,
    InvertibleConcepts,
    real_places,
    standard,
)
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._selective_units import UnitRow, selective_units
from layerwise.explain._target import Target
from layerwise.models import Layer, Network
from layerwise.taps import read
from layerwise.taps._places import placed

_AT_ONCE = 8  # samples in a forward that keeps all layers
_PLACES = 2**14  # places that concepts are found in

Progress = Callable[[str, int, int], None]


@final
@dataclass(frozen=True)
class ConceptRow:
    """One concept of a layer.

    Args:
        presence: its share of all concepts' scores, over the samples.
        effect: its share of what all concepts contribute to the answers, for or against.
        samples: those in which it is most present, the most first.
        heat: where it is in each of them, in rows and columns or word by word.
    """

    presence: float
    effect: float
    samples: tuple[int, ...]
    heat: tuple[Tensor, ...]


@final
@dataclass(frozen=True)
class ConceptLayer:
    """The concepts of a layer, and how far to believe them.

    Args:
        layer: address.
        kind: of the layer.
        width: its channels.
        left_out: share of the layer's length that the concepts leave out.
        agreement: share of samples whose answer stays when only the concepts go on.
        error: change of the answers' scores by that, over the scores.
        concepts: the most present first.
        units: the most selective first.
    """

    layer: str
    kind: str
    width: int
    left_out: float
    agreement: float
    error: float
    concepts: tuple[ConceptRow, ...]
    units: tuple[UnitRow, ...]


def survey_concepts(
    network: Network,
    inputs: Inputs,
    *,
    layers: str = "stages",
    count: int = 6,
    units: int = 4,
    shown: int = 5,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> tuple[ConceptLayer, ...]:
    """Find the concepts and the most selective units of some layers.

    Args:
        network: the network, which is left as it was.
        inputs: some samples; concepts are found over all of them together.
        layers: addresses or patterns.
        count: concepts of each layer.
        units: units of each layer.
        shown: samples of each concept and unit.
        seed: draws the places in which concepts are found, where there are very many.
        progress: called with the stage, how much is done, and how much there is.

    Raises:
        LayerwiseError: fewer than 2 samples, no such layer, or an option below 1.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = survey_concepts(**examples(survey_concepts), count=2)
        >>> [(layer.layer, len(layer.concepts)) for layer in found]
        [('1', 2), ('3', 2)]
    """
    samples = require_inputs(inputs)
    if samples < 2 or min(count, units, shown) < 1:
        raise LayerwiseError(
            f"{samples} samples for {count} concepts and {units} units, {shown} samples of each; "
            f"give at least 2 samples, and 1 of everything else"
        )
    network.take_example(inputs)
    chosen = network.layers.select(layers)
    generator = torch.Generator().manual_seed(seed)
    held = torch.randperm(samples, generator=generator) < samples // 2
    progress("reading", 0, 1)
    seen, columns = _seen(network, inputs, chosen, generator)
    found = []
    for done, layer in enumerate(chosen):
        progress(f"concepts of {layer.name}", done, len(chosen))
        here = seen.pop(layer.name)
        factors = NonNegative.fit(torch.cat(here.places), count=count)
        told = InvertibleConcepts(factors, layer=layer.name)(network, inputs, columns=columns)
        heat = _laid(network, layer, told.places, here.shape, inputs)
        rows = selective_units(torch.cat(here.means), held=held, count=units, shown=shown)
        told_of = (float(factors.error), float(told.agreement), float(told.error))
        found.append(
            ConceptLayer(
                layer.name, layer.kind, layer.width, *told_of, _rows(told, heat, shown), rows
            )
        )
    progress("concepts", len(chosen), len(chosen))
    return tuple(found)


@dataclass
class _Seen:
    """What flowed through a layer: means of the samples, and some of their places."""

    means: list[Tensor]
    places: list[Tensor]
    shape: torch.Size


def _seen(
    network: Network, inputs: Inputs, layers: Sequence[Layer], generator: torch.Generator
) -> tuple[dict[str, _Seen], Float[Tensor, "n c"]]:
    """All layers in one pass, and what the network returns."""
    samples, output = require_inputs(inputs), Target().found(network)
    names = [layer.name for layer in layers]
    found: dict[str, _Seen] = {}
    columns = []
    for start in range(0, samples, _AT_ONCE):
        some = part(inputs, start, start + _AT_ONCE)
        values = read(network, some, [*names, output.name])
        columns.append(Target().of(output, values[output.name], some))
        for layer in layers:
            value = values[layer.name]
            rows = layer.sure.tokens(value)
            most = _PLACES * len(rows) // samples
            rows = rows[real_places(some, rows)]
            if len(rows) > most:
                rows = rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]
            here = found.setdefault(layer.name, _Seen([], [], value.shape[2:]))
            here.means.append(Target(layer.name).of(layer, value, some))
            here.places.append(rows)
    return found, torch.cat(columns)


def _rows(told: ConceptExplanation, heat: Tensor, shown: int) -> tuple[ConceptRow, ...]:
    """The concepts, the most present first."""
    top = exemplars(told.presence, count=shown).samples.tolist()
    presence = _shares(told.presence.sum(dim=0))
    effect = _shares(told.contributions.abs().sum(dim=0))
    return tuple(
        ConceptRow(
            float(presence[k]),
            float(effect[k]),
            tuple(top[k]),
            tuple(heat[sample, k].cpu() for sample in top[k]),
        )
        for k in presence.argsort(descending=True, stable=True).tolist()
    )


def _laid(
    network: Network,
    layer: Layer,
    scores: Float[Tensor, "n t k"],
    shape: torch.Size,
    inputs: Inputs,
) -> Tensor:
    """Each concept's scores `[n k h w]`, `[n k t]`, or `[n k 1]` of a layer without places."""
    if layer.sure.form == "vector":
        return scores.transpose(1, 2)
    like = torch.empty(len(scores), scores.shape[2], *shape, device="meta")
    laid = placed(network, layer, standard(layer, scores, like), inputs)
    return laid if laid.ndim == 4 else laid.transpose(1, 2)


def _shares(values: Tensor) -> Tensor:
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
