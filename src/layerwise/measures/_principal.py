"""Principal axes from products that are summed up in blocks: no second layer is held for them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def principal_axes(rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " r"], Float[Tensor, "d r"]]:
    """Squared singular values, falling, and right singular vectors of centred rows, in float64.

    Example:
        >>> principal_axes(torch.tensor([[3.0, 0.0], [-3.0, 0.0]]))[0].tolist()
        [18.0, 0.0]
    """
    n, d = rows.shape
    product = rows.new_zeros(min(n, d), min(n, d)).double()
    for block in (rows.T if n < d else rows).split(1024):
        wide = block.double()
        product.addmm_(wide.T, wide)
    spectrum, vectors = torch.linalg.eigh(product)
    spectrum, vectors = spectrum.flip(0).clamp(min=0), vectors.flip(1)
    if n < d:
        real = spectrum > n * torch.finfo(torch.float64).eps * spectrum[0]
        vectors = rows.T.double() @ vectors / spectrum.sqrt().where(real, torch.inf)
    return spectrum, vectors
