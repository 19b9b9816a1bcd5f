"""Label embedding: classes as vectors, so that one that was never seen can be named (P255).

A sample x and a class y go together by `F(x, y) = theta(x)' W phi(y)`: theta is the frozen feature,
phi the class's attributes, ancestors in a hierarchy or text embedding, several of them side by side
if you like. W is learned by weighted approximate ranking (WARP): for each sample, other classes are
drawn until one comes within a margin of 1; if that took N draws of C - 1, the right class stands at
about rank `k = floor((C - 1) / N)`, and the step is weighted by `1 + 1/2 + ... + 1/k`. Without
attributes every class has an axis of its own, and it is ordinary ranking.

Both sides are centred and brought to length 1; centring the features is ours, since those of deep
layers share a large mean. W starts at zero, and draws are without replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._labelled import require_labelled


@final
@paper("Label-Embedding for Image Classification", year=2015, arxiv="1503.08677", no=(255,))
class LabelEmbedding(nn.Module):
    """Classifies by the compatibility of features and class vectors. Build it with `fit`.

    Args:
        mean: of the training features.
        weight: from features to class vectors.
        classes: the vector of each class, by label; zeros where nothing is known of one.

    Example:
        >>> attributes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
        >>> features = attributes[labels] + 0.1 * noise
        >>> embedding = LabelEmbedding.fit(features, labels, attributes=attributes)
        >>> embedding.predict(torch.tensor([[0.0, 0.0]])).item()  # no sample was of class 3
        3
    """

    mean: Float[Tensor, " d"]
    weight: Float[Tensor, "d e"]
    classes: Float[Tensor, "c e"]

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        weight: Float[Tensor, "d e"],
        classes: Float[Tensor, "c e"],
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("weight", weight)
        self.register_buffer("classes", classes)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        attributes: Float[Tensor, "c e"] | None = None,
        rate: float = 0.1,
        epochs: int = 20,
        generator: Generator | None = None,
    ) -> LabelEmbedding:
        """Learn which features go with which class vectors.

        Args:
            features: one row per sample.
            labels: class of each sample.
            attributes: the vector of each class, row by label, also of classes without samples.
            rate: of the steps.
            epochs: passes over the samples.
            generator: for their order and the drawn classes.

        Raises:
            LayerwiseError: rows that do not match or are not finite, missing labels, fewer than two
                classes, or a label without a row of attributes.
        """
        require_labelled(features, labels)
        seen = labels.unique()
        if len(seen) < 2:
            raise LayerwiseError(f"all labels are {int(seen[0])}; give at least two classes")
        classes = _vectors(attributes, labels).to(features)
        mean = features.mean(0)
        rows = nn.functional.normalize(features - mean, dim=1)
        vectors = classes[seen]
        places = torch.searchsorted(seen, labels)
        weight = features.new_zeros(features.shape[1], classes.shape[1])
        harmonic = (1 / torch.arange(1, len(seen)).to(features)).cumsum(0)
        generator = generator or Generator().manual_seed(0)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=generator)
            turns = torch.rand(len(rows), len(seen), generator=generator).argsort(1)
            for i, turn in zip(order.tolist(), turns.to(features.device), strict=True):
                own = int(places[i])
                scores = vectors @ (rows[i] @ weight)
                others = turn[turn != own]
                close = (1 + scores[others] > scores[own]).nonzero()
                if len(close):
                    drawn = int(close[0])
                    loss = harmonic[len(others) // (drawn + 1) - 1]
                    step = rate * loss * (vectors[own] - vectors[others[drawn]])
                    weight = weight + rows[i].outer(step)
        return cls(mean, weight, classes)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Compatibility with each class, by label.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return nn.functional.normalize(features - self.mean, dim=1) @ self.weight @ self.classes.T

    def predict(
        self, features: Float[Tensor, "m d"], *, among: Sequence[int] | None = None
    ) -> Int[Tensor, " m"]:
        """Label of the most compatible class.

        Args:
            features: one row per sample.
            among: the classes that come into question, such as those without samples; all that
                are known without it.
        """
        known = self.classes.abs().sum(1) > 0
        allowed = known.nonzero().flatten() if among is None else torch.as_tensor(among)
        if len(allowed) == 0 or int(allowed.min()) < 0 or int(allowed.max()) >= len(known):
            raise LayerwiseError(
                f"among={list(among or [])} of {len(known)} classes; give some of 0 to "
                f"{len(known) - 1}"
            )
        return allowed[self(features)[:, allowed].argmax(1)]


def _vectors(attributes: Tensor | None, labels: Int[Tensor, " n"]) -> Tensor:
    """Class vectors, centred on those of all classes and of length 1."""
    count = int(labels.max()) + 1
    if attributes is None:
        axes = torch.zeros(count, count)
        axes[labels, labels] = 1.0
        return axes
    if len(attributes) < count:
        raise LayerwiseError(
            f"{len(attributes)} rows of attributes, but a label is {count - 1}; give a row for "
            "each class"
        )
    require_finite(attributes, "attributes")
    return nn.functional.normalize(attributes - attributes.mean(0), dim=1)
