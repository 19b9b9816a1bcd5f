"""What a decoder of depth and normals is trained with (P118)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

_EPS = 1e-4


def depth_loss(
    predicted: Float[Tensor, "n h w"], depth: Float[Tensor, "n h w"]
) -> Float[Tensor, ""]:
    """Scale-invariant logarithmic loss (lambda 0.85, times 10) plus half that of its gradients."""
    known = depth.isfinite() & (depth > 0)
    off = predicted.clamp(min=_EPS).log() - depth.where(known, 1.0).clamp(min=_EPS).log()
    own = off[known]
    level = 10 * (own.square().mean() - 0.85 * own.mean().square()).clamp(min=1e-12).sqrt()
    slopes = predicted.new_zeros(())
    for axis in (1, 2):
        last = depth.shape[axis] - 1
        both = known.narrow(axis, 0, last) & known.narrow(axis, 1, last)
        if both.any():
            slopes = slopes + off.diff(dim=axis)[both].abs().mean()
    return level + 0.5 * slopes


def normal_loss(
    predicted: Float[Tensor, "n 4 h w"], normals: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, ""]:
    """Negative log-likelihood of the angle; the fourth channel is how sure the prediction is."""
    known = (normals != 0).any(1)
    cosine = nn.functional.cosine_similarity(predicted[:, :3], normals, dim=1)[known]
    sure = nn.functional.elu(predicted[:, 3][known]) + 1.01
    angle = cosine.clamp(-1 + _EPS, 1 - _EPS).acos()
    likely = (-sure * math.pi).exp().log1p() - sure.square().log1p() + sure * angle
    return likely.mean()
