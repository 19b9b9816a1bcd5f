"""Invertible concepts: a layer in a few directions, how true that is, and what each adds (P261).

The places of a layer are factorised, A ~ S P, and the network goes on from S P in the place of A:
fidelity is how far its answers stay the same. Concepts of a non-negative factorisation are the
paper's; any other that can be inverted may be given, as components or clusters. A class's score is
then taken apart into its concepts,

    score = sum_i S_i . dh/dS_i + residual + rest

with the derivative h' taken at S P, the residual what the factorisation left out, h(A) - h(S P),
and the rest what does not grow with the concepts. Where only pooling and a linear layer follow,
this is exact and the rest is the class's bias, as in the paper; elsewhere it is a linear view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._gradients import gradients
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._only import only
from layerwise.explain._target import Target, chosen
from layerwise.models import Layer, Network
from layerwise.taps import edit, read

_AT_ONCE = 32  # samples in a forward


@runtime_checkable
class Factors(Protocol):
    """A factorisation that can be inverted, as far as it goes."""

    def __call__(self, features: Float[Tensor, "m d"], /) -> Float[Tensor, "m k"]:
        """The scores of rows."""
        ...

    def restore(self, scores: Float[Tensor, "m k"]) -> Float[Tensor, "m d"]:
        """The rows that scores stand for: linear in the scores, up to a constant."""
        ...


@final
@dataclass(frozen=True)
class ConceptExplanation:
    """What concepts contribute to the answers for some samples, and how true that is.

    Args:
        places: score of each concept at each place, in the order of `Layout.tokens`.
        presence: its mean over the places of each sample.
        contributions: of each concept to the class's score.
        residual: what the concepts leave out of it.
        rest: what of it does not grow with the concepts.
        scores: the class's score, the sum of all these.
        agreement: share of samples whose answer stays the same when only concepts go on.
        error: change of the scores by that, over the scores: sum of sizes over sum of sizes.
    """

    places: Float[Tensor, "n t k"]
    presence: Float[Tensor, "n k"]
    contributions: Float[Tensor, "n k"]
    residual: Float[Tensor, " n"]
    rest: Float[Tensor, " n"]
    scores: Float[Tensor, " n"]
    agreement: Float[Tensor, ""]
    error: Float[Tensor, ""]


@final
@paper(
    "Invertible Concept-based Explanations for CNN Models with Non-negative Concept Activation "
    "Vectors",
    year=2020,
    arxiv="2006.15417",
    no=(261,),
)
class InvertibleConcepts(nn.Module):
    """Explains a network by a few concepts of one of its layers. Build it with `fit`.

    Args:
        factors: of the layer's places.
        layer: address of the layer.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> inputs = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        >>> concepts = InvertibleConcepts.fit(network, inputs, layer="1", count=4)
        >>> bool(concepts(network, inputs).agreement > 0.9)
        True
    """

    def __init__(self, factors: Factors, *, layer: str) -> None:
        super().__init__()
        self.factors = factors
        self.layer = layer

    @classmethod
    def fit(
        cls,
        network: Network,
        inputs: Inputs,
        *,
        layer: str = "50%",
        count: int = 10,
        factorise: Callable[[Float[Tensor, "n d"], int], Factors] | None = None,
    ) -> InvertibleConcepts:
        """Find the concepts.

        Args:
            network: the network, which is left as it was.
            inputs: samples, in the paper those that the network puts in one class.
            layer: where concepts are looked for.
            count: concepts, 10 to 25 in the paper.
            factorise: makes factors of rows and a count; the default is `NonNegative.fit`.

        Raises:
            LayerwiseError: no such layer, no samples, or samples that the network does not run on.
        """
        network.take_example(inputs)
        where = only(network, layer)
        batches = _batches(inputs)
        found = [_places(where, read(network, b, where.name)[where.name]) for b in batches]
        rows = torch.cat([f[real_places(b, f)] for b, f in zip(batches, found, strict=True)])
        if factorise is None:
            return cls(NonNegative.fit(rows, count=count), layer=where.name)
        return cls(factorise(rows, count), layer=where.name)

    def forward(
        self,
        network: Network,
        inputs: Inputs,
        *,
        labels: Int[Tensor, " m"] | None = None,
        columns: Float[Tensor, "m c"] | None = None,
    ) -> ConceptExplanation:
        """Explain some samples, which need not be those it was fitted to.

        Args:
            network: the same network.
            inputs: the samples.
            labels: the class whose score is explained, for each sample; without it, the answer.
            columns: what the network returns for them, where that is known already.

        Raises:
            LayerwiseError: a label out of range, or samples that the network does not run on.
        """
        network.take_example(inputs)
        if columns is None:
            columns = Target().read(network, inputs, at_once=_AT_ONCE)
        answers = columns.argmax(dim=1)
        asked = answers if labels is None else labels
        scores = chosen(columns, asked)
        parts = [
            self._taken_apart(network, *given)
            for given in zip(_batches(inputs), asked.split(_AT_ONCE), strict=True)
        ]
        places, presence, contributions, restored, answered = (
            torch.cat(each) for each in zip(*parts, strict=True)
        )
        residual = scores - restored
        sizes = scores.abs().sum().clamp(min=torch.finfo(scores.dtype).tiny)
        return ConceptExplanation(
            places=places,
            presence=presence,
            contributions=contributions,
            residual=residual,
            rest=restored - contributions.sum(dim=1),
            scores=scores,
            agreement=(answered == answers).to(scores.dtype).mean(),
            error=residual.abs().sum() / sizes,
        )

    def _taken_apart(
        self, network: Network, inputs: Inputs, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores of the places, presence, contributions, the restored score, and the answer."""
        layer, output = network.layers[self.layer], Target().found(network)
        told: list[Tensor] = []

        def restored(value: Tensor) -> Tensor:
            places = _places(layer, value)
            real = real_places(inputs, places)[:, :, None]
            scores = self.factors(places.flatten(0, 1)).unflatten(0, places.shape[:2]) * real
            nothing = self.factors.restore(torch.zeros_like(scores[0, :1]))
            directions = self.factors.restore(torch.eye(scores.shape[2]).to(scores)) - nothing
            told[:] = [scores, scores.sum(dim=1) / real.sum(dim=1), directions]
            made = torch.where(real, scores @ directions + nothing, places)
            return standard(layer, made, value)

        with edit(network, {layer.name: restored}):
            found = gradients(network, inputs, labels, layers=[layer.name, output.name])
        scores, presence, directions = told
        slopes = _places(layer, found.slopes[layer.name]) @ directions.T
        answered = Target().of(output, found.values[output.name], inputs).argmax(dim=1)
        return scores, presence, (scores * slopes).sum(dim=1), found.scores, answered


def _batches(inputs: Inputs) -> list[Inputs]:
    count = require_inputs(inputs)
    return [part(inputs, start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]


def real_places(inputs: Inputs, places: Float[Tensor, "n t d"]) -> Bool[Tensor, "n t"]:
    """Which places are no padding of a text."""
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    if mask is None or mask.shape != places.shape[:2]:
        return torch.ones(places.shape[:2], dtype=torch.bool, device=places.device)
    return mask.bool()


def _places(layer: Layer, value: Tensor) -> Float[Tensor, "n t d"]:
    return layer.sure.tokens(value)


def standard(layer: Layer, places: Float[Tensor, "n t d"], like: Tensor) -> Tensor:
    """Places laid out as the layer's standard form."""
    if layer.sure.form == "tokens":
        return places
    return places.transpose(1, 2).reshape(like.shape)
