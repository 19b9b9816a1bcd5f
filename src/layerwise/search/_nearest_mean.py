"""Nearest class mean: a classifier that learns for ever and forgets nothing (P246).

Frozen features of every class are averaged as they come; a sample belongs to the class with the
nearest mean. There is one head, no stored example and no task boundary: `update` takes new rows and
new classes in any order, `merge` joins two states, and both give what one fit over all rows gives.
Means and counts are kept in float64, so that the order of the stream is not felt.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._labelled import require_labelled

_ROWS = 4096


@final
@paper(
    "A Simple Baseline that Questions the Use of Pretrained-Models in Continual Learning",
    year=2022,
    arxiv="2210.04428",
    no=(246,),
)
class NearestMean(nn.Module):
    """Classifies features by the nearest class mean. Build it with `fit`.

    Args:
        means: of each class.
        counts: rows behind each mean.
        classes: the labels in rising order, as the rows of `means`.
        normalise: features are brought to length 1 first.

    Example:
        >>> features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
        >>> nearest = NearestMean.fit(features, torch.tensor([0, 0, 4]))
        >>> nearest.predict(torch.tensor([[1.0, 1.0], [7.0, 9.0]])).tolist()
        [0, 4]
    """

    means: Float[Tensor, "c d"]
    counts: Float[Tensor, " c"]
    classes: Int[Tensor, " c"]

    def __init__(
        self,
        means: Float[Tensor, "c d"],
        counts: Float[Tensor, " c"],
        classes: Int[Tensor, " c"],
        *,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("counts", counts)
        self.register_buffer("classes", classes)
        self.normalise = normalise

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        normalise: bool = False,
    ) -> NearestMean:
        """Average each class.

        Args:
            features: one row per sample.
            labels: class of each row.
            normalise: bring each row to length 1 first.

        Raises:
            LayerwiseError: no rows, rows that do not match or are not finite, or missing labels.
        """
        require_labelled(features, labels)
        classes, index = labels.unique(return_inverse=True)
        counts = index.bincount().double()
        sums = counts.new_zeros(len(classes), features.shape[1])
        for block, own in zip(features.split(_ROWS), index.split(_ROWS), strict=True):
            wide = block.double()  # a block at a time: all of them are twice a layer of float32
            sums.index_add_(0, own, _unit(wide) if normalise else wide)
        return cls(sums / counts[:, None], counts, classes, normalise=normalise)

    def update(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> NearestMean:
        """The classifier after more rows, of known classes or new ones. Errors as in `fit`."""
        return self.merge(NearestMean.fit(features, labels, normalise=self.normalise))

    def merge(self, other: NearestMean) -> NearestMean:
        """The classifier of both sets of rows.

        Raises:
            LayerwiseError: the two differ in width or in `normalise`.
        """
        mine, theirs = (
            (self.means.shape[1], self.normalise),
            (other.means.shape[1], other.normalise),
        )
        if mine != theirs:
            raise LayerwiseError(
                f"cannot merge means of (width, normalise) {mine} with {theirs}; fit both alike"
            )
        labels = torch.cat([self.classes, other.classes])
        classes, index = labels.unique(return_inverse=True)
        counts = torch.cat([self.counts, other.counts])
        sums = torch.cat([self.means, other.means]) * counts[:, None]
        total = counts.new_zeros(len(classes)).index_add(0, index, counts)
        merged = sums.new_zeros(len(classes), sums.shape[1]).index_add(0, index, sums)
        return NearestMean(merged / total[:, None], total, classes, normalise=self.normalise)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Negative Euclidean distance to each mean; `softmax(-1)` makes probabilities of them.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        rows = _unit(features) if self.normalise else features
        # Around the centre of the means nothing cancels in the expanded square.
        centre = self.means.mean(0)
        near = (rows - centre).to(features.dtype)
        return -torch.cdist(near, (self.means - centre).to(features.dtype))

    def predict(self, features: Float[Tensor, "m d"]) -> Int[Tensor, " m"]:
        """Label of the nearest mean."""
        return self.classes[self(features).argmax(1)]


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return nn.functional.normalize(rows, dim=1)
