"""What every layer has concepts of: the survey behind `layerwise concepts`.

For each layer the concepts of its places, the samples in which each is most present, and the
samples that excite its most selective units most; and beside them how far to believe the concepts:
what they leave out of the layer, and how often the network's answer stays when only they go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._exemplars import exemplars
from layerwise.explain._invertible_concepts import InvertibleConcepts, _standard
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._places import placed
from layerwise.features import Mean
from layerwise.models import Layer, Network
from layerwise.taps import pool, read

_AT_ONCE = 32  # samples in a forward
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
class UnitRow:
    """One unit of a layer.

    Args:
        unit: its number.
        selective: how far its strongest sample stands above the mean, in deviations.
        samples: those that excite it most, the most first.
    """

    unit: int
    selective: float
    samples: tuple[int, ...]


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
    pooled = _pooled(network, inputs, [layer.name for layer in chosen])
    found = []
    for done, layer in enumerate(chosen):
        progress(f"concepts of {layer.name}", done, len(chosen))
        concepts = _Concepts(network, inputs, layer, count=count, shown=shown, seed=seed)
        rows = _units(pooled[layer.name], units, shown)
        found.append(concepts.row(rows))
    progress("concepts", len(chosen), len(chosen))
    return tuple(found)


class _Concepts:
    """The concepts of one layer."""

    def __init__(
        self,
        network: Network,
        inputs: Inputs,
        layer: Layer,
        *,
        count: int,
        shown: int,
        seed: int,
    ) -> None:
        self.network, self.inputs, self.layer, self.shown = network, inputs, layer, shown

        def factorise(rows: Tensor, count: int) -> NonNegative:
            if len(rows) > _PLACES:
                generator = torch.Generator().manual_seed(seed)
                some = torch.randperm(len(rows), generator=generator)[:_PLACES]
                rows = rows[some.to(rows.device)]
            return NonNegative.fit(rows, count=count)

        self.concepts = InvertibleConcepts.fit(
            network, inputs, layer=layer.name, count=count, factorise=factorise
        )

    def row(self, units: tuple[UnitRow, ...]) -> ConceptLayer:
        told = self.concepts(self.network, self.inputs)
        factors = self.concepts.factors
        assert isinstance(factors, NonNegative)
        top = exemplars(told.presence, count=self.shown).samples
        heat = self._heat(top)
        presence, effect = told.presence.sum(dim=0), told.contributions.abs().sum(dim=0)
        presence, effect = _shares(presence), _shares(effect)
        order = presence.argsort(descending=True, stable=True).tolist()
        return ConceptLayer(
            self.layer.name,
            self.layer.kind,
            self.layer.width,
            float(factors.error),
            float(told.agreement),
            float(told.error),
            tuple(
                ConceptRow(float(presence[k]), float(effect[k]), tuple(top[k].tolist()), heat[k])
                for k in order
            ),
            units,
        )

    def _heat(self, top: Tensor) -> list[tuple[Tensor, ...]]:
        """Where each concept is in each of its samples."""
        wanted = sorted(set(top.flatten().tolist()))
        places: dict[int, Tensor] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            rows = wanted[start : start + _AT_ONCE]
            some = _taken(self.inputs, rows)
            value = read(self.network, some, self.layer.name)[self.layer.name]
            tokens = self.layer.sure.tokens(value)
            scores = self.concepts.factors(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
            places |= dict(zip(rows, self._placed(scores, value, some), strict=True))
        return [
            tuple(places[sample][concept].cpu() for sample in samples)
            for concept, samples in enumerate(top.tolist())
        ]

    def _placed(self, scores: Tensor, value: Tensor, inputs: Inputs) -> Tensor:
        """Scores of each concept `[n k h w]`, `[n k t]`, or `[n k 1]` of a layer without places."""
        if self.layer.sure.form == "vector":
            return scores.transpose(1, 2)
        shape = torch.empty(len(value), scores.shape[2], *value.shape[2:], device="meta")
        laid = placed(self.network, self.layer, _standard(self.layer, scores, shape), inputs)
        return laid if laid.ndim == 4 else laid.transpose(1, 2)


def _pooled(network: Network, inputs: Inputs, names: list[str]) -> dict[str, Tensor]:
    """The mean over places of every unit, for every sample."""
    count = require_inputs(inputs)
    batches = [part(inputs, start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]
    found = [pool(network, batch, names, (Mean(),)) for batch in batches]
    return {name: torch.cat([each[name, "mean"] for each in found]) for name in names}


def _units(values: Float[Tensor, "n d"], count: int, shown: int) -> tuple[UnitRow, ...]:
    spread = values.std(dim=0).clamp(min=torch.finfo(values.dtype).tiny)
    selective = (values.amax(dim=0) - values.mean(dim=0)) / spread
    top = exemplars(values, count=shown).samples
    best = selective.topk(min(count, len(selective))).indices.tolist()
    return tuple(UnitRow(u, float(selective[u]), tuple(top[u].tolist())) for u in best)


def _shares(values: Tensor) -> Tensor:
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)


def _taken(inputs: Inputs, rows: list[int]) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return {name: value[rows] for name, value in inputs.items()}
