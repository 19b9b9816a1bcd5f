"""Batches made of one example: more samples, and samples of another size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Inputs = Tensor | Mapping[str, Tensor]


def repeated(example: Inputs, count: int) -> Inputs:
    """A batch of `count` equal samples.

    Example:
        >>> repeated(torch.zeros(1, 3, 8, 8), 2).shape
        torch.Size([2, 3, 8, 8])
    """
    if isinstance(example, Mapping):
        return {name: value[:1].repeat_interleave(count, 0) for name, value in example.items()}
    return example[:1].repeat_interleave(count, 0)


def has_places(example: Inputs) -> bool:
    """Whether a batch holds something with height and width."""
    tensors = example.values() if isinstance(example, Mapping) else [example]
    return any(t.is_floating_point() and t.ndim == 4 for t in tensors)


def shapes(inputs: Inputs) -> str:
    """The shapes of a batch, for people."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
    return str(list(inputs.shape))


def resized(inputs: Inputs) -> list[Inputs]:
    """The same batch at other sizes, the most telling first; a network may refuse any of them."""
    if isinstance(inputs, Mapping):
        return _resized_arguments(inputs)
    if inputs.ndim == 4 and inputs.is_floating_point():
        return list(_scaled(inputs))
    if inputs.ndim == 3 or (inputs.ndim == 2 and not inputs.is_floating_point()):
        return [torch.cat([inputs] * 2, axis) for axis in range(1, inputs.ndim)]
    return []


def _resized_arguments(inputs: Mapping[str, Tensor]) -> list[Inputs]:
    words = {n: v for n, v in inputs.items() if v.ndim == 2 and not v.is_floating_point()}
    images = {n: _scaled(v) for n, v in inputs.items() if v.ndim == 4 and v.is_floating_point()}
    if words:
        # A few words more; the last one repeated, so that masks and segments stay valid.
        longer = {n: torch.cat([v, v[:, -1:].repeat(1, 3)], 1) for n, v in words.items()}
        return [{**inputs, **longer}]
    sizes = min(map(len, images.values()), default=0)
    return [{**inputs, **{n: found[i] for n, found in images.items()}} for i in range(sizes)]


def _scaled(images: Tensor) -> list[Tensor]:
    height, width = images.shape[-2:]
    # Multiples of 32 and of 28 suit strides up to 32 and patches of 14 and 16.
    half = [(max(s * (height // (2 * s)), s), max(s * (width // (2 * s)), s)) for s in (32, 28)]
    sides = [side for side in (*half, (2 * height, 2 * width)) if side != (height, width)]
    return [functional.interpolate(images, s, mode="nearest") for s in dict.fromkeys(sides)]
