"""Features on their principal axes: fewer numbers where rows are few, and a diagonal `Z'Z`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rotate(
    x: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "d r"], Float[Tensor, " r"]]:
    """Coordinates on the principal axes, the axes and the spectrum, where there is variance.

    Args:
        x: rows in float64, centred or not.

    Example:
        >>> scores, axes, spectrum = rotate(torch.tensor([[3.0, 0.0], [0.0, 0.0]]).double())
        >>> spectrum.tolist()
        [9.0]
        >>> (scores @ axes.T).tolist()
        [[3.0, 0.0], [0.0, 0.0]]
    """
    wide = x.shape[1] > x.shape[0]
    spectrum, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    some = spectrum > len(spectrum) * torch.finfo(x.dtype).eps * spectrum[-1]
    spectrum, vectors = spectrum[some], vectors[:, some]
    if wide:
        return vectors * spectrum.sqrt(), x.T @ (vectors / spectrum.sqrt()), spectrum
    return x @ vectors, vectors, spectrum
