"""Prototypes at the border of each class and far from it, learnt on a frozen layer's maps (P224).

Two branches, each a small head and M prototypes of every class. A picture's likeness to a prototype
is the largest cosine over its places, a class's score is linear in them, and both branches' scores
are added. Trivial prototypes of different classes are pushed apart (discrimination), support
prototypes are pulled together (closeness), to where a support vector machine has its vectors. In
the end every prototype is put on the nearest place of a training picture of its class, so that it
can be looked at: `places` says which. Loss weights are those of the authors' code; the layer stays
as it is, where they train it along.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models._seeded import seeded
from layerwise.search._labelled import require_labelled

_CLUSTER, _ORTHOGONAL, _TWINS, _SPARSE = 0.8, 1e-3, 1.0, 1e-4
_SEPARATION = (0.08, 0.48)  # of trivial and of support prototypes
_OTHERS = -0.5  # of a class's score that another class's prototypes begin with


@final
class Branch(nn.Module):
    """A head, prototypes and a linear layer without bias.

    Args:
        channels: of the maps.
        classes: how many.
        count: prototypes of each class.
        width: of the head's output.
    """

    def __init__(self, channels: int, classes: int, count: int, width: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(channels, width, 1), nn.Conv2d(width, width, 1)
        self.head = nn.Sequential(first, nn.ReLU(), second, nn.Sigmoid())
        self.prototypes = nn.Parameter(normalize(torch.rand(classes, count, width), dim=2))
        own = torch.eye(classes).repeat_interleave(count, dim=1)
        self.weight = nn.Parameter(own + _OTHERS * (1 - own))

    def likeness(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k m h w"]:
        """Cosine of every place with every prototype."""
        patches = normalize(self.head(maps), dim=1)
        return torch.einsum("nehw,kme->nkmhw", patches, normalize(self.prototypes, dim=2))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k m"]:
        """The largest likeness over the places."""
        return self.likeness(maps).amax(dim=(3, 4))

    def scores(self, likeness: Float[Tensor, "n k m"]) -> Float[Tensor, "n k"]:
        """The classes' scores."""
        return likeness.flatten(1) @ self.weight.T

    def between(self) -> Float[Tensor, "k k m m"]:
        """Cosine of the prototypes of every two classes."""
        unit = normalize(self.prototypes, dim=2)
        return torch.einsum("kme,lne->klmn", unit, unit)


@final
@paper(
    "Learning Support and Trivial Prototypes for Interpretable Image Classification",
    year=2023,
    arxiv="2301.04011",
    no=(224,),
)
class SupportTrivialPrototypes(nn.Module):
    """Classifies maps by what they are like, at borders and far from them. Build it with `fit`.

    Args:
        trivial: the branch whose prototypes lie far from each other.
        support: the branch whose prototypes lie near the borders.
        classes: the labels in rising order.
        places: sample, row and column of each prototype, the trivial ones first.

    Example:
        >>> labels = torch.arange(30) % 3
        >>> maps = torch.eye(3)[labels][:, :, None, None].expand(-1, -1, 2, 2)
        >>> found = SupportTrivialPrototypes.fit(maps, labels, epochs=60)
        >>> bool((found.predict(maps) == labels).all())
        True
    """

    classes: Int[Tensor, " k"]
    places: Int[Tensor, "2 k m 3"]

    def __init__(
        self,
        trivial: Branch,
        support: Branch,
        *,
        classes: Int[Tensor, " k"],
        places: Int[Tensor, "2 k m 3"],
    ) -> None:
        super().__init__()
        self.trivial, self.support = trivial, support
        self.register_buffer("classes", classes)
        self.register_buffer("places", places)

    @classmethod
    def fit(
        cls,
        feature_map: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        *,
        count: int = 5,
        width: int = 64,
        epochs: int = 40,
        batch: int = 80,
        rate: float = 3e-3,
        seed: int = 0,
    ) -> SupportTrivialPrototypes:
        """Learn the prototypes.

        Args:
            feature_map: what a layer gives for the training pictures.
            labels: class of each.
            count: prototypes of each class, in each branch.
            width: channels in which likeness is measured.
            epochs: passes over the pictures; as many more steps tune the linear layers in the end.
            batch: pictures in a step.
            rate: Adam's learning rate.
            seed: of the first weights and of the order.

        Raises:
            LayerwiseError: rows that do not match or are not finite, missing labels, fewer than two
                classes, or an option below 1.
        """
        require_labelled(feature_map.flatten(1), labels)
        classes, index = labels.unique(return_inverse=True)
        if len(classes) < 2 or min(count, width, epochs, batch) < 1:
            raise LayerwiseError(
                f"{len(classes)} classes, {count} prototypes, width {width}, {epochs} epochs, "
                f"batches of {batch}; give at least 2 classes, and 1 of everything else"
            )
        with seeded(seed), torch.enable_grad():
            branches = [Branch(feature_map.shape[1], len(classes), count, width) for _ in range(2)]
            # In float64, as absolute values and maxima let the rounding of float32 grow.
            maps = feature_map.double()
            for branch in branches:
                branch.to(maps)
            _learn(branches, maps, index, epochs=epochs, batch=batch, rate=rate)
            with torch.no_grad():
                places = torch.stack([_put_on_places(each, maps, index) for each in branches])
            _tune(branches, maps, index, epochs, rate)
        for branch in branches:
            branch.requires_grad_(False).to(feature_map.dtype)
        return cls(*branches, classes=classes, places=places)

    def forward(self, feature_map: Float[Tensor, "m c h w"]) -> Float[Tensor, "m k"]:
        """The classes' scores, of both branches together.

        Raises:
            LayerwiseError: the maps are not finite.
        """
        require_finite(feature_map)
        trivial, support = self.trivial, self.support
        return trivial.scores(trivial(feature_map)) + support.scores(support(feature_map))

    def predict(self, feature_map: Float[Tensor, "m c h w"]) -> Int[Tensor, " m"]:
        """The class of the largest score."""
        return self.classes[self(feature_map).argmax(dim=1)]


def _learn(
    branches: list[Branch],
    maps: Float[Tensor, "n c h w"],
    index: Int[Tensor, " n"],
    *,
    epochs: int,
    batch: int,
    rate: float,
) -> None:
    weights = [weight for branch in branches for weight in branch.parameters()]
    optimiser = torch.optim.Adam(weights, lr=rate)
    for _ in range(epochs):
        for some in torch.randperm(len(maps)).split(batch):
            rows = some.to(maps.device)
            losses = [_loss(b, maps[rows], index[rows], s) for s, b in enumerate(branches)]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()


def _loss(branch: Branch, maps: Tensor, index: Tensor, support: int) -> Float[Tensor, ""]:
    likeness = branch(maps)
    own = nn.functional.one_hot(index, likeness.shape[1]).bool()
    nearest = likeness.amax(dim=2)
    cluster = nearest[own].mean()
    separation = nearest.masked_fill(own, -1).amax(dim=1).mean()
    between = branch.between()
    classes, _, count, _ = between.shape
    same = torch.eye(classes, dtype=torch.bool, device=maps.device)
    apart = torch.eye(count, dtype=maps.dtype, device=maps.device)
    orthogonal = (between[same] - apart).abs().sum()
    pairs = between[~same].flatten(1)
    # Support prototypes are drawn to those of other classes, trivial ones driven from them.
    twins = -pairs.amin(dim=1).mean() if support else pairs.amax(dim=1).mean()
    foreign = branch.weight[~same.repeat_interleave(count, dim=1)].abs().sum()
    return (
        cross_entropy(branch.scores(likeness), index)
        - _CLUSTER * cluster
        + _SEPARATION[support] * separation
        + _ORTHOGONAL * orthogonal
        + _TWINS * twins
        + _SPARSE * foreign
    )


def _put_on_places(
    branch: Branch, maps: Float[Tensor, "n c h w"], index: Int[Tensor, " n"]
) -> Int[Tensor, "k m 3"]:
    """Replace each prototype by the most alike place of a picture of its class."""
    likeness = branch.likeness(maps)
    patches = normalize(branch.head(maps), dim=1)
    _, classes, count, h, w = likeness.shape
    places = []
    for label in range(classes):
        members = (index == label).nonzero().flatten()
        best = likeness[members, label].transpose(0, 1).flatten(1).argmax(dim=1)
        sample, row, column = members[best // (h * w)], best % (h * w) // w, best % w
        branch.prototypes[label] = patches[sample, :, row, column]
        places.append(torch.stack([sample, row, column], dim=1))
    return torch.stack(places).view(classes, count, 3)


def _tune(
    branches: list[Branch], maps: Tensor, index: Int[Tensor, " n"], steps: int, rate: float
) -> None:
    """Fit the linear layers to the prototypes as they are now."""
    with torch.no_grad():
        likeness = [branch(maps) for branch in branches]
    optimiser = torch.optim.Adam([branch.weight for branch in branches], lr=rate)
    for _ in range(steps):
        losses = [
            cross_entropy(branch.scores(near), index)
            for branch, near in zip(branches, likeness, strict=True)
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
