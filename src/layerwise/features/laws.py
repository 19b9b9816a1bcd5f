"""What every pooling keeps. Run `check` on your own."""

from __future__ import annotations

import pickle
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError


@runtime_checkable
class Pooling(Protocol):
    """Makes one row of each sample's tokens."""

    @property
    def name(self) -> str:
        """Short name for tables and columns; poolings that differ have different names."""
        ...

    def __call__(
        self, tokens: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Pool the tokens that the mask leaves; without a mask, all of them."""
        ...


def check(pooling: Pooling, *, seed: int = 0) -> None:
    """Try a pooling on small examples.

    Masking is cutting, whatever stands in what is cut; samples do not feel each other; a map that
    is the same everywhere pools to itself; arguments and the global random state stay as they are;
    half precision comes out in float32 and double in double; pickling keeps it; a sample without
    tokens is refused.

    Args:
        pooling: what to try.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.features import Mean
        >>> check(Mean())
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = 0.1 + torch.rand(3, 6, 4, generator=generator)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[0, 4:] = mask[1, :3] = False
    _check_untouched(pooling, tokens, mask)
    _check_masks(pooling, tokens, mask)
    _check_types(pooling, tokens)
    pooled = pooling(tokens)
    assert pooled.shape == (3, 4), f"tokens [3 6 4] pool to {list(pooled.shape)}, not [3 4]"
    _close(pooling(tokens[1:2]), pooled[1:2], "samples feel each other")
    flat = tokens[:, :1].expand(-1, 6, -1)
    _close(pooling(flat), flat[:, 0], "a map that is the same everywhere does not pool to itself")
    again = pickle.loads(pickle.dumps(pooling))
    assert again.name == pooling.name, "pickling changes the name"
    assert torch.equal(again(tokens), pooled), "pickling changes the answer"


def check_places(pooling: Pooling, *, seed: int = 0) -> None:
    """Try that the order of the places changes nothing, as for a mean or a maximum.

    Args:
        pooling: what to try.
        seed: of the examples.

    Raises:
        AssertionError: the order is felt.

    Example:
        >>> from layerwise.features import Max
        >>> check_places(Max())
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(3, 6, 4, generator=generator)
    order = torch.randperm(6, generator=generator)
    _close(pooling(tokens[:, order]), pooling(tokens), "the order of the places is felt")


def _check_untouched(pooling: Pooling, tokens: Tensor, mask: Tensor) -> None:
    before = tokens.clone(), mask.clone(), torch.get_rng_state()
    first, again = pooling(tokens, mask), pooling(tokens, mask)
    assert torch.equal(first, again), "the same tokens pool to different rows"
    assert torch.equal(tokens, before[0]), "the tokens were changed"
    assert torch.equal(mask, before[1]), "the mask was changed"
    assert torch.equal(torch.get_rng_state(), before[2]), "the global random state was changed"


def _check_masks(pooling: Pooling, tokens: Tensor, mask: Tensor) -> None:
    cut = torch.cat(
        [pooling(row[keep].unsqueeze(0)) for row, keep in zip(tokens, mask, strict=True)]
    )
    dirty = tokens.masked_fill(~mask.unsqueeze(2), torch.nan)
    _close(pooling(dirty, mask), cut, "masking is not cutting")
    for empty, hidden in ((tokens[:, :0], None), (tokens, mask & False)):
        try:
            pooling(empty, hidden)
        except LayerwiseError:
            continue
        raise AssertionError("a sample without tokens is not refused with a LayerwiseError")


def _check_types(pooling: Pooling, tokens: Tensor) -> None:
    half = pooling(tokens.half())
    assert half.dtype == torch.float32, f"float16 pools to {half.dtype}, not float32"
    wide = pooling(tokens.double())
    assert wide.dtype == torch.float64, f"float64 pools to {wide.dtype}"
    _close(wide.float(), pooling(tokens), "float32 and float64 differ")


def _close(one: Tensor, other: Tensor, broken: str) -> None:
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), broken
