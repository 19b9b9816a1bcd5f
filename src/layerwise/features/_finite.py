"""Refuses what is not a number: a NaN in a fit or an `argmax` comes out as an answer."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError


def require_finite(values: Tensor, what: str = "features") -> None:
    """Refuse values that are NaN or infinite.

    Args:
        values: one row per sample.
        what: their name, for the message.

    Raises:
        LayerwiseError: says how many rows, and the first of them.
    """
    if without_values(values):
        return
    good = torch.isfinite(values)
    if not bool(good.all()):
        rows = (~good).reshape(len(values), -1).any(1).nonzero().flatten()
        raise LayerwiseError(
            f"the {what} hold NaN or infinity in {len(rows)} of {len(values)} rows, "
            f"first in row {int(rows[0])}; leave those rows out"
        )


def without_values(tensor: Tensor) -> bool:
    """Whether a graph is being written down, so that a tensor has a shape and nothing to look at.

    Example:
        >>> without_values(torch.zeros(1))
        False
    """
    return type(tensor).__name__ == "FakeTensor"  # to import its class takes a second
