"""Every classifier and index keeps the laws, and the laws catch those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.search import (
    Exploit,
    Faiss,
    Logistic,
    NearestMean,
    Neighbours,
    OffTheShelf,
    PartialDER,
    PatchRetrieval,
    Usearch,
)
from layerwise.search.laws import Classifier, check, check_index


class Nearest:
    """Five neighbours vote."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        if bool((labels < 0).any()):
            raise LayerwiseError("labels are missing")
        self.index, self.labels = Neighbours.fit(features), labels

    def predict(self, features: Tensor) -> Tensor:
        return self.index(features, count=5).classify(self.labels, counts=(1, 5))


@pytest.mark.parametrize(
    "fit",
    [Exploit.fit, Logistic.fit, NearestMean.fit, OffTheShelf.fit, PartialDER.fit, Nearest],
)
def test_classifiers_keep_the_laws(fit) -> None:
    check(fit)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("index", [Neighbours, Usearch, Faiss])
def test_neighbours_keep_the_laws(index: type[Neighbours | Usearch | Faiss], cosine: bool) -> None:
    check_index(lambda stored, asked: index.fit(stored, cosine=cosine)(asked).rows[:, 0])


def test_patches_keep_the_laws() -> None:
    check_index(lambda stored, asked: PatchRetrieval.fit(stored).rank(asked)[:, 0])


class FirstLabel:
    """Says of everything what it saw first."""

    def __init__(self, _: Tensor, labels: Tensor) -> None:
        self.label = labels[:1]

    def predict(self, features: Tensor) -> Tensor:
        return self.label.expand(len(features))


class Relative(Nearest):
    """Sees everything from the first that it is asked."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features - features[:1])


class Lenient(Nearest):
    """Takes missing labels for a class."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        super().__init__(features, labels.abs())


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (FirstLabel, "a stored item is not found"),
        (Relative, "a stored item is not found|samples feel each other"),
        (Lenient, "missing labels: not refused"),
    ],
)
def test_the_laws_catch_what_is_broken(fit: type[Classifier], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(fit)


def test_the_laws_catch_an_index_of_something_else() -> None:
    with pytest.raises(AssertionError, match="does not find itself"):
        check_index(lambda _, asked: torch.zeros(len(asked), dtype=torch.long))
