"""What every measure asks of its features: one row for each sample, enough rows, finite numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


def checked(features: Tensor, *, least: int = 0) -> Tensor:
    """Return the features detached, in float32 or float64.

    Args:
        features: `[n d]`, of any type that holds numbers.
        least: fewest samples that the measure is defined for.

    Raises:
        LayerwiseError: another shape, too few samples, NaN or infinity.

    Example:
        >>> checked(torch.ones(3, 2, dtype=torch.float16)).dtype
        torch.float32
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise LayerwiseError(
            f"features have shape {tuple(features.shape)}, expected one row for each sample "
            "[samples, channels]; pool maps and tokens first"
        )
    if len(features) < least:
        raise LayerwiseError(
            f"features of {len(features)} samples; this measure needs at least {least}"
        )
    precise = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    if not precise.sum(dtype=torch.float64).isfinite():
        require_finite(precise)  # slower, but it says where; the sum alone may have overflowed
    return precise


def centre(features: Tensor) -> Tensor:
    """Mean of the samples in float64, exact where a column is constant.

    It is taken of the differences to the first sample: a plain mean of equal numbers may miss them
    by one rounding, and what is left would look like information.
    """
    return features[0].double() + (features - features[0]).mean(dim=0, dtype=torch.float64)


def centred(features: Tensor) -> Tensor:
    """The features minus their mean; a constant column becomes exactly zero."""
    moved = features - features[0]
    return moved.sub_(moved.mean(dim=0, dtype=torch.float64).to(moved.dtype))
