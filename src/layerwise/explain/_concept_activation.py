"""Testing with concept activation vectors, and against chance (P198).

A concept is given by examples. In a layer, the vector from random samples to the concept's, the
normal of a linear classifier between them, is its activation vector v. Along it the score of a
class rises or falls: S(x) = dh(x)/df . v for the layer's value f and the class's score h. The TCAV
score is the share of a class's samples for which S is positive; 0.5 says nothing. It is measured
with several sets of random samples, compared with vectors between two random sets by a two-sided
t-test, and corrected for the number of comparisons (Bonferroni).

Ours: concept and random samples are dealt out into disjoint sets. Then the scores are independent,
as the t-test takes for granted; with all of the concept's examples in every vector, as in the
paper, sets of random samples pass for concepts more often than the test admits. Places are
averaged, so that v says what is there and not where; the derivative is that of adding v everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._gradients import gradients
from layerwise.explain._only import only
from layerwise.explain._target import Target
from layerwise.features import Ridge
from layerwise.models import Network


@final
@dataclass(frozen=True)
class ConceptScores:
    """What concepts mean to classes, `k` concepts by `c` classes.

    Args:
        classes: the classes, in the order of the columns.
        score: mean TCAV score over the sets.
        deviation: its standard deviation over the sets.
        chance: mean score of vectors between random sets.
        p: how likely chance alone differs as much, corrected for all comparisons made here.
    """

    classes: Int[Tensor, " c"]
    score: Float[Tensor, "k c"]
    deviation: Float[Tensor, "k c"]
    chance: Float[Tensor, " c"]
    p: Float[Tensor, "k c"]


@final
@paper(
    "Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV)",
    year=2018,
    arxiv="1711.11279",
    no=(198,),
)
class ConceptActivation(nn.Module):
    """Tells whether concepts given by examples matter to a network's classes. Build it with `fit`.

    Args:
        vectors: of each concept against each random set, of length 1.
        chance: of each random set against another.
        accuracy: share of the samples outside a vector's own sets that it puts on the right side;
            0.5 says that the layer does not hold the concept, and the scores mean nothing.
        layer: address of the layer.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(nn.Linear(2, 2), example=torch.zeros(1, 2))
        >>> network.module.weight.data = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
        >>> concept = torch.arange(40) % 2
        >>> inputs = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
        >>> inputs[:, 0] += 9 * concept
        >>> tested = ConceptActivation.fit(network, inputs, concept, layer=".:in")
        >>> tested(network, inputs, torch.zeros(40, dtype=torch.long)).score.tolist()
        [[1.0]]
    """

    vectors: Float[Tensor, "k s d"]
    chance: Float[Tensor, "s d"]
    accuracy: Float[Tensor, " k"]

    def __init__(
        self,
        vectors: Float[Tensor, "k s d"],
        chance: Float[Tensor, "s d"],
        accuracy: Float[Tensor, " k"],
        *,
        layer: str,
    ) -> None:
        super().__init__()
        self.register_buffer("chance", chance)
        self.register_buffer("vectors", vectors)
        self.register_buffer("accuracy", accuracy)
        self.layer = layer

    @classmethod
    def fit(
        cls,
        network: Network,
        inputs: Inputs,
        labels: Int[Tensor, " n"],
        *,
        layer: str = "50%",
        sets: int = 20,
        generator: torch.Generator | None = None,
    ) -> ConceptActivation:
        """Find the vectors.

        Args:
            network: the network, which is left as it was.
            inputs: examples of the concepts, and random samples to tell them from.
            labels: concept of each, counted from 1; 0 for the random samples.
            layer: where the concepts are looked for.
            sets: vectors of each concept, each from samples of its own, as far as there are so
                many. Fewer than about 12 find nothing significant.
            generator: deals out the samples; seeded with 0 by default.

        Raises:
            LayerwiseError: no such layer, no concept, or fewer than 2 samples of one or at random.
        """
        network.take_example(inputs)
        layer = only(network, layer).name
        rows = Target(layer=layer).read(network, inputs)
        random, *concepts = _dealt(rows, labels.to(rows.device), sets, generator)
        vectors = torch.stack(
            [
                torch.stack([_vector(*pair) for pair in zip(concept, random, strict=True)])
                for concept in ([*random[1:], random[0]], *concepts)
            ]
        )
        accuracy = torch.stack(
            [_accuracy(*given, random) for given in zip(vectors[1:], concepts, strict=True)]
        )
        return cls(vectors[1:], vectors[0], accuracy, layer=layer)

    def forward(self, network: Network, inputs: Inputs, labels: Int[Tensor, " m"]) -> ConceptScores:
        """Test what the concepts mean to the classes of some samples.

        Args:
            network: the same network.
            inputs: samples of the classes that are to be explained.
            labels: the class of each.

        Raises:
            LayerwiseError: a class that the network does not have, or samples it does not run on.
        """
        slope = sensitivity(network, inputs, labels, layer=self.layer)
        classes = labels.unique().to(slope.device)
        runs, chance = (
            torch.stack([rises[..., labels == c].mean(dim=-1) for c in classes], dim=-1)
            for rises in ((v @ slope.T > 0).to(slope.dtype) for v in (self.vectors, self.chance))
        )
        p = _welch(runs, chance)
        return ConceptScores(
            classes=classes,
            score=runs.mean(dim=1),
            deviation=runs.std(dim=1),
            chance=chance.mean(dim=0),
            p=(p * p.numel()).clamp(max=1),
        )


def sensitivity(
    network: Network, inputs: Inputs, labels: Int[Tensor, " n"], *, layer: str
) -> Float[Tensor, "n d"]:
    """How each class score answers to what is added at every place of a layer."""
    slopes = gradients(network, inputs, labels, layers=layer).slopes
    (name,) = slopes
    return network.layers[name].sure.tokens(slopes[name]).sum(dim=1)


def _dealt(
    rows: Tensor, labels: Tensor, sets: int, generator: torch.Generator | None
) -> list[list[Float[Tensor, "m d"]]]:
    """The rows of each concept in disjoint sets, the random ones first."""
    members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
    sets = min(sets, *map(len, members)) if len(members) > 1 else 0
    if sets < 2:
        counts = ", ".join(str(len(each)) for each in members)
        raise LayerwiseError(
            f"samples at random (label 0) and of each concept (labels from 1): {counts}; a test "
            f"needs at least one concept, 2 samples of each and 2 sets"
        )
    generator = generator or torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(each), generator=generator) for each in members]
    mixed = [rows[each[order]] for each, order in zip(members, orders, strict=True)]
    return [[each[i::sets] for i in range(sets)] for each in mixed]


def _vector(inside: Float[Tensor, "m d"], outside: Float[Tensor, "l d"]) -> Float[Tensor, " d"]:
    """The normal of a ridge classifier, its penalty chosen by leaving one out."""
    sides = torch.cat([inside.new_ones(len(inside)), -inside.new_ones(len(outside))])
    ridge = Ridge.fit(torch.cat([inside, outside]), sides)
    return nn.functional.normalize(ridge.linear(ridge.best()).weight.detach()[0], dim=0)


def _accuracy(
    vectors: Float[Tensor, "s d"], concept: list[Tensor], random: list[Tensor]
) -> Float[Tensor, ""]:
    """Mean share of the samples of all other sets on the right side, each side alike."""
    shares = []
    for i, vector in enumerate(vectors):
        middle = ((concept[i] @ vector).mean() + (random[i] @ vector).mean()) / 2
        for sign, sets in ((1, concept), (-1, random)):
            others = torch.cat(sets[:i] + sets[i + 1 :])
            shares.append((sign * (others @ vector - middle) > 0).to(others.dtype).mean())
    return torch.stack(shares).mean()


def _welch(runs: Float[Tensor, "k s c"], chance: Float[Tensor, "s c"]) -> Float[Tensor, "k c"]:
    """Two-sided p of a difference in means, the variances not taken for equal."""
    from scipy.special import stdtr

    count = len(chance)
    apart = (runs.mean(dim=1) - chance.mean(dim=0)).double()
    errors = runs.double().var(dim=1) / count, chance.double().var(dim=0) / count
    both = errors[0] + errors[1]
    freedom = (count - 1) * both.square() / (errors[0].square() + errors[1].square())
    p = 2 * stdtr(freedom.cpu().numpy(), (-apart.abs() / both.sqrt()).cpu().numpy())
    # Runs that never vary are equal or they are not.
    return torch.where(both > 0, torch.as_tensor(p).to(both), apart == 0).to(runs.dtype)
