"""Centred kernel alignment: how similar are two layers, whatever their widths and rotations?

With linear kernels K = XX' and L = YY', CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), here
with the unbiased HSIC of Song et al. (2012, equation 5), as in the paper. The usual biased one
calls independent noise similar as soon as a layer has more channels than there are samples.

No n x n matrix is needed, which is ours: for centred features the rows of K sum to zero, so that

    n(n - 3) HSIC = |X'Y|^2 - n/(n - 2) sum_i a_i b_i + (sum_i a_i)(sum_i b_i) / ((n - 1)(n - 2))

with a_i = |x_i|^2 and b_i = |y_i|^2. `CKA` sums these terms batch by batch around a fixed point
close to the mean and moves them to the true mean in the end. `cka` has all samples at hand and
takes |X'Y|^2 = sum_ij K_ij L_ij from blocks of rows of K, where that is the smaller product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._checked import centre, centred, checked

_LEAST = 4  # samples; n - 3 is a divisor
_ROWS = 1024  # of a batch taken into float64 at a time
_BLOCK = 2**22  # numbers in a block of all kernels' rows


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def cka(
    features: Float[Tensor, "n _"] | Sequence[Float[Tensor, "n _"]],
    other: Float[Tensor, "n _"] | Sequence[Float[Tensor, "n _"]] | None = None,
    *,
    unbiased: bool = True,
) -> Float[Tensor, "l m"]:
    """Similarity between all layers of a network, or between the layers of two networks.

    The result is exact up to rounding: float64 features are computed in float64, all others in
    float32 with sums in float64. Unbiased values of unrelated layers lie around 0 and may be
    negative. A layer that says the same of every sample has no similarity to anything: NaN.

    Args:
        features: one layer, or a sequence of layers of any widths.
        other: the same samples in the layers of another network; without it, `features` again.
        unbiased: use the unbiased estimate of HSIC; the biased one is there to compare.

    Raises:
        LayerwiseError: fewer than 4 samples, layers of different numbers of samples, NaN.

    Example:
        >>> noise = torch.randn(2, 128, 1280, generator=torch.Generator().manual_seed(0))
        >>> bool(cka(noise[0], noise[1]).abs() < 0.05)
        True
        >>> bool(cka(noise[0], noise[1], unbiased=False) > 0.9)
        True
    """
    rows = _layers(features)
    columns = _layers(other) if other is not None else []
    together = _checked([*rows, *columns])
    if len(together[0]) <= sum(layer.shape[1] for layer in together):
        similarity = _from_kernels(together, unbiased=unbiased)
    else:
        streamed = CKA(unbiased=unbiased)
        streamed.update(together)
        similarity = streamed.result()
    return similarity[: len(rows), len(rows) :] if columns else similarity


@final
@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
class CKA:
    """Similarity between all layers from batches that come one after another, in one pass.

    All sums are kept in float64, 4 D^2 bytes for D channels in all. For two networks, give the
    layers of both together: their similarity is a corner of the result.

    Args:
        unbiased: use the unbiased estimate of HSIC.

    Example:
        >>> layers = torch.randn(2, 60, 5, generator=torch.Generator().manual_seed(0)).unbind()
        >>> streamed = CKA()
        >>> for batch in zip(*(layer.split(20) for layer in layers)):
        ...     streamed.update(batch)
        >>> bool(torch.allclose(streamed.result(), cka(layers).double(), atol=1e-6))
        True
    """

    def __init__(self, *, unbiased: bool = True) -> None:
        self.unbiased = unbiased
        self.samples = 0
        self._widths: list[int] = []

    @torch.inference_mode(mode=False)
    def update(self, features: Sequence[Float[Tensor, "n _"]]) -> None:
        """Take in one batch: the same samples in every layer.

        Args:
            features: one `[n d_l]` for each layer, always the same layers in the same order.

        Raises:
            LayerwiseError: other layers than before, different numbers of samples, NaN.
        """
        layers = _checked(features)
        if len(layers[0]) == 0:
            return
        widths = [layer.shape[1] for layer in layers]
        if not self._widths:
            self._start(layers, widths)
        if widths != self._widths:
            raise LayerwiseError(f"layers of widths {widths} after layers of {self._widths}")
        for start in range(0, len(layers[0]), _ROWS):
            batch = torch.cat([layer[start : start + _ROWS].double() for layer in layers], dim=1)
            self._add(batch.sub_(self._shift))

    def result(self) -> Float[Tensor, "l l"]:
        """The similarity of all layers over the samples so far.

        Raises:
            LayerwiseError: fewer than 4 samples.
        """
        n = self.samples
        if n < _LEAST:
            raise LayerwiseError(f"CKA of {n} samples; it needs at least {_LEAST}")
        means = (self._sums / n).split(self._widths)
        overlap, bridge = torch.zeros_like(self._squares), torch.zeros_like(self._squares)
        for i, product in enumerate(self._products):
            for j, block in enumerate(product.split(self._widths[i:], dim=1), start=i):
                overlap[i, j] = overlap[j, i] = block.square().sum()
                bridge[i, j] = bridge[j, i] = means[i] @ block @ means[j]
        cubes = self._cubes.split(self._widths)
        skew = torch.stack([mean @ cube for mean, cube in zip(means, cubes, strict=True)])
        shift = torch.stack([mean.square().sum() for mean in means])
        shifts = torch.outer(shift, shift)
        moved = torch.outer(self._norms, shift) - 2 * skew.T
        return _alignment(
            overlap - 2 * n * bridge + n**2 * shifts,
            self._squares + moved + moved.T + 4 * bridge - 3 * n * shifts,
            self._norms - n * shift,
            samples=n,
            unbiased=self.unbiased,
        )

    def _start(self, layers: list[Tensor], widths: list[int]) -> None:
        self._widths = widths
        self._shift = torch.cat([centre(layer) for layer in layers])
        zeros = self._shift.new_zeros
        total = sum(widths)
        self._starts = [sum(widths[:i]) for i in range(len(widths))]
        self._products = [zeros(w, total - s) for w, s in zip(widths, self._starts, strict=True)]
        self._cubes, self._sums = zeros(total, len(widths)), zeros(total)
        self._squares, self._norms = zeros(len(widths), len(widths)), zeros(len(widths))

    def _add(self, batch: Tensor) -> None:
        parts = batch.split(self._widths, dim=1)
        norms = torch.stack([_squared_lengths(part) for part in parts], dim=1)
        self.samples += len(batch)
        self._sums += batch.sum(dim=0)
        self._norms += norms.sum(dim=0)
        self._squares.addmm_(norms.T, norms)
        self._cubes.addmm_(batch.T, norms)
        for part, product, start in zip(parts, self._products, self._starts, strict=True):
            product.addmm_(part.T, batch[:, start:])


def _layers(features: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features)


def _checked(features: Sequence[Tensor]) -> list[Tensor]:
    layers = [checked(layer) for layer in features]
    samples = sorted({len(layer) for layer in layers})
    if len(samples) != 1:
        given = f"layers of {samples} samples" if samples else "no layers"
        raise LayerwiseError(f"CKA was given {given}; give at least one, all of the same samples")
    return layers


def _from_kernels(layers: list[Tensor], *, unbiased: bool) -> Tensor:
    samples = len(layers[0])
    if samples < _LEAST:
        raise LayerwiseError(f"CKA of {samples} samples; it needs at least {_LEAST}")
    layers = [centred(layer) for layer in layers]
    norms = torch.stack([_squared_lengths(layer) for layer in layers], dim=1)
    squares = norms.T @ norms
    overlap = squares.clone()
    height = max(1, _BLOCK // (samples * len(layers)))
    for start in range(0, samples, height):
        block = torch.stack([layer[start : start + height] @ layer[start:].T for layer in layers])
        block.triu_(1)  # each pair of samples once; the diagonal is in `squares`
        overlap += 2 * torch.bmm(block.transpose(0, 1), block.permute(1, 2, 0)).double().sum(dim=0)
    return _alignment(overlap, squares, norms.sum(dim=0), samples=samples, unbiased=unbiased)


def _squared_lengths(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=1, dtype=torch.float64).square()


def _alignment(
    overlap: Tensor, squares: Tensor, norms: Tensor, *, samples: int, unbiased: bool
) -> Tensor:
    """CKA from |X'Y|^2, sum a_i b_i and sum a_i of centred layers; NaN for a constant one."""
    n, hsic = samples, overlap
    if unbiased:
        both = torch.outer(norms, norms) / ((n - 1) * (n - 2))
        hsic = overlap - n / (n - 2) * squares + both
    # What remains of rounding after the subtraction is not information either.
    own = hsic.diagonal().where(hsic.diagonal() > 1e-10 * overlap.diagonal(), torch.nan)
    return hsic / torch.outer(own, own).sqrt()
