"""Poolings against the plain reduction of the tokens that are left after cutting."""

from __future__ import annotations

import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.features import First, GeM, Last, Max, Mean

POOLINGS = [Mean(), First(), Last(), Max(), GeM(), GeM(p=4.6, floor=0.014)]


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))


def test_each_is_the_reduction_it_is_named_after(tokens: torch.Tensor) -> None:
    torch.testing.assert_close(Mean()(tokens), tokens.sum(1) / 7)
    assert torch.equal(First()(tokens), tokens[:, 0])
    assert torch.equal(Last()(tokens), tokens[:, 6])
    assert torch.equal(Max()(tokens), tokens.max(1).values)
    clamped = tokens.clamp(min=1e-6)
    torch.testing.assert_close(GeM()(tokens), (clamped**3).mean(1) ** (1 / 3))


def test_gem_lies_between_mean_and_maximum() -> None:
    tokens = torch.rand(4, 7, 5) + 0.1
    torch.testing.assert_close(GeM(p=1.0)(tokens), Mean()(tokens))
    torch.testing.assert_close(GeM(p=400.0)(tokens), Max()(tokens), rtol=1e-2, atol=0)


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_the_mask_cuts_on_either_side(pooling: Mean, tokens: torch.Tensor) -> None:
    mask = torch.zeros(4, 7, dtype=torch.bool)
    spans = [(0, 3), (2, 7), (1, 2), (0, 7)]
    for row, (start, stop) in enumerate(spans):
        mask[row, start:stop] = True
    dirty = tokens.masked_fill(~mask.unsqueeze(2), torch.nan)
    cut = [pooling(tokens[i : i + 1, a:b]) for i, (a, b) in enumerate(spans)]
    torch.testing.assert_close(pooling(dirty, mask), torch.cat(cut))


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_a_map_is_pooled_as_the_view_it_is(pooling: Mean) -> None:
    maps = torch.rand(2, 3, 4, 5)
    view = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(pooling(view), pooling(view.contiguous()))


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_half_precision_is_summed_in_float32(pooling: Mean) -> None:
    # A running sum in float16 would stop growing at 2048.
    tokens = torch.ones(1, 5000, 2, dtype=torch.float16)
    pooled = pooling(tokens)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.ones(1, 2))
    masked = pooling(tokens, torch.ones(1, 5000, dtype=torch.bool))
    torch.testing.assert_close(masked, torch.ones(1, 2))


@pytest.mark.parametrize("pooling", [First(), Last()], ids=repr)
def test_one_token_does_not_keep_the_map_alive(pooling: First, tokens: torch.Tensor) -> None:
    pooled = pooling(tokens)
    assert pooled.untyped_storage().nbytes() == pooled.numel() * 4


def test_gem_stays_finite_where_powers_overflow() -> None:
    tokens = torch.full((1, 3, 1), 1e12)
    torch.testing.assert_close(GeM(p=4.6)(tokens), torch.full((1, 1), 1e12))


def test_names_tell_powers_apart() -> None:
    names = [pooling.name for pooling in POOLINGS]
    assert names == ["mean", "first", "last", "max", "gem", "gem4.6"]


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_a_sample_without_tokens_is_refused(pooling: Mean, tokens: torch.Tensor) -> None:
    mask = torch.ones(4, 7, dtype=torch.bool)
    mask[2] = False
    with pytest.raises(LayerwiseError, match="sample 2 without a token"):
        pooling(tokens, mask)
    with pytest.raises(LayerwiseError, match="no token"):
        pooling(tokens[:, :0])


def test_gem_refuses_a_power_that_is_not_positive() -> None:
    with pytest.raises(LayerwiseError, match="must be positive"):
        GeM(p=0.0)
