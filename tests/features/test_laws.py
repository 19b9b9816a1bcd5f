"""Every pooling keeps the laws, and the laws catch poolings that do not."""

from __future__ import annotations

import pytest
from torch import Tensor

from layerwise.features import First, GeM, Last, Max, Mean
from layerwise.features.laws import Pooling, check, check_places


@pytest.mark.parametrize("pooling", [Mean(), First(), Last(), Max(), GeM(), GeM(p=4.6)], ids=repr)
def test_poolings_keep_the_laws(pooling: Pooling) -> None:
    assert isinstance(pooling, Pooling)
    check(pooling)


@pytest.mark.parametrize("pooling", [Mean(), Max(), GeM()], ids=repr)
def test_places_have_no_order(pooling: Pooling) -> None:
    check_places(pooling)


class Broken:
    name = "broken"


class ForgetsTheMask(Broken):
    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return tokens.mean(1)


class ChangesTheTokens(Broken):
    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return tokens.mul_(2).mean(1)


class MixesSamples(Broken):
    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return Mean()(tokens, mask) + Mean()(tokens, mask).mean(0)


class StaysInHalfPrecision(Broken):
    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return Mean()(tokens, mask).to(tokens.dtype)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (ForgetsTheMask(), "masking is not cutting"),
        (ChangesTheTokens(), "different rows"),
        (MixesSamples(), "masking is not cutting"),
        (StaysInHalfPrecision(), "float16 pools to"),
    ],
)
def test_the_laws_catch_what_is_broken(pooling: Pooling, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(pooling)


def test_first_feels_the_order() -> None:
    with pytest.raises(AssertionError, match="order"):
        check_places(First())
