"""What every classifier and every index of frozen features keeps. Try `check` on your own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError


@runtime_checkable
class Classifier(Protocol):
    """A fitted classifier of features."""

    def predict(self, features: Float[Tensor, "m d"]) -> Int[Tensor, "*p m"]:
        """Label of each row, for each of its settings where it has several."""
        ...


def check(
    fit: Callable[[Float[Tensor, "n d"], Int[Tensor, " n"]], Classifier], *, seed: int = 0
) -> None:
    """Try a classifier on three clouds of points that lie far apart.

    A stored item finds itself: it is given the label it was stored with, whatever numbers the
    labels are and whatever order the rows stand in. Samples do not feel each other; arguments and
    the global random state stay as they are; a pickle and, of a module, the state dict hold all of
    it; NaN, no rows and missing labels are refused.

    Args:
        fit: makes a classifier from features and labels.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.search import NearestMean
        >>> check(NearestMean.fit)
    """
    features, labels = _clouds(seed)
    before = features.clone(), labels.clone(), torch.get_rng_state()
    classifier = fit(features, labels)
    assert bool((classifier.predict(features) == labels).all()), "a stored item is not found"
    assert torch.equal(features, before[0]), "the features were changed"
    assert torch.equal(labels, before[1]), "the labels were changed"
    assert torch.equal(torch.get_rng_state(), before[2]), "the global random state was changed"
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = fit(features[order], labels[order])
    assert bool((shuffled.predict(features) == labels).all()), "the order of the rows is felt"
    alone = classifier.predict(features[5:6])
    together = classifier.predict(features)
    assert torch.equal(alone, together[..., 5:6]), "samples feel each other"
    wide = fit(features.double(), labels).predict(features.double())
    assert torch.equal(wide, together), "float64 gives another answer"
    _check_copies(classifier, fit(features + 1, labels), features)
    _check_refusals(fit, features, labels)


def check_index(
    nearest: Callable[[Float[Tensor, "n d"], Float[Tensor, "m d"]], Int[Tensor, " m"]],
    *,
    seed: int = 0,
) -> None:
    """Try an index on points without labels.

    A stored item finds itself, in whatever order the items are stored; of two equal items the
    first is found; arguments and the global random state stay as they are.

    Args:
        nearest: stores the first argument's rows, and tells which of them is nearest to each row of
            the second.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.search import Neighbours
        >>> check_index(lambda stored, asked: Neighbours.fit(stored)(asked, count=1).rows[:, 0])
    """
    gallery, _ = _clouds(seed)
    rows = torch.arange(len(gallery))
    before = gallery.clone(), torch.get_rng_state()
    assert torch.equal(nearest(gallery, gallery), rows), "a stored item does not find itself"
    assert torch.equal(gallery, before[0]), "the stored rows were changed"
    assert torch.equal(torch.get_rng_state(), before[1]), "the global random state was changed"
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(order[nearest(gallery[order], gallery)], rows), "the stored order is felt"
    twice = nearest(torch.cat([gallery, gallery]), gallery)
    assert torch.equal(twice, rows), "of two equal items the first is not found"


def _clouds(seed: int) -> tuple[Float[Tensor, "30 6"], Int[Tensor, " 30"]]:
    """Three clouds around far corners, and labels with gaps between them."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(30) % 3
    noise = torch.randn(30, 6, generator=generator)
    return 10 * torch.eye(3, 6)[index] + 0.5 * noise, torch.tensor([2, 5, 9])[index]


def _check_copies(classifier: Classifier, other: Classifier, features: Tensor) -> None:
    answer = classifier.predict(features)
    again = pickle.loads(pickle.dumps(classifier))
    assert torch.equal(again.predict(features), answer), "pickling changes the answer"
    if isinstance(classifier, nn.Module) and isinstance(other, nn.Module):
        other.load_state_dict(classifier.state_dict())
        assert torch.equal(other.predict(features), answer), "the state dict holds not all of it"


def _check_refusals(
    fit: Callable[[Tensor, Tensor], Classifier], features: Tensor, labels: Tensor
) -> None:
    spoiled = features.clone()
    spoiled[3, 2] = torch.nan
    mistakes = {
        "NaN": (spoiled, labels),
        "no rows": (features[:0], labels[:0]),
        "missing labels": (features, labels.clone().fill_(-1)),
    }
    for mistake, given in mistakes.items():
        try:
            fit(*given)
        except LayerwiseError:
            continue
        raise AssertionError(f"{mistake}: not refused with a LayerwiseError")
