"""Arrays and tensors: the first axis counts samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from layerwise.data._columns import pick
from layerwise.data._keys import numbered, tensor_digest
from layerwise.data._samples import Samples
from layerwise.data._subset import subset
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    import numpy as np


@final
@dataclass(frozen=True)
class Rows:
    """Takes one row of a tensor.

    Args:
        tensor: `[n ...]`.
    """

    tensor: Tensor

    def __call__(self, item: int) -> Tensor:
        """One sample, a tensor of its own."""
        return self.tensor[item].clone()


def open_tensor(
    tensor: Tensor, source: str, *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open a tensor `[n ...]`; see `layerwise.data.open`."""
    if tensor.ndim < 2 or len(tensor) == 0:
        raise LayerwiseError(
            f"{source} has shape {tuple(tensor.shape)}; give [n ...]: n samples (one or more) on "
            "the first axis and each sample's own axes after it"
        )
    rows = subset([None] * len(tensor), limit, seed)
    return Samples(
        modality="tensor",
        source=source,
        names=tuple(f"row {row}" for row in rows),
        keys=numbered(tensor_digest(tensor[row]) for row in rows),
        items=tuple(rows),
        loader=Rows(tensor.detach()),
        targets=pick({}, targets),
    )


def as_tensor(array: np.ndarray[Any, Any], source: str) -> Tensor:
    """A tensor of an array, without a copy where torch knows its type."""
    import numpy as np

    if array.dtype.kind not in "biufc":
        raise LayerwiseError(
            f"{source} holds values of type {array.dtype}; give numbers (for texts give a list)"
        )
    try:
        return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    except TypeError:
        raise LayerwiseError(f"{source} holds {array.dtype}, which torch does not know") from None
