"""How far are depths and normals off that were read from a network?

The numbers of P118, for each picture by itself: pixels without a true depth (infinite, NaN or not
positive) or without a true normal (of length 0) are left out, and a picture without any has NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class DepthScores:
    """Errors of depth, for each picture.

    Args:
        rmse: root of the mean squared error.
        relative: mean error as a share of the true depth.
        within: share of pixels whose depth is wrong by a factor below 1.25, 1.25^2 and 1.25^3.
    """

    rmse: Float[Tensor, "*n"]
    relative: Float[Tensor, "*n"]
    within: Float[Tensor, "*n 3"]


@final
@dataclass(frozen=True)
class NormalScores:
    """Errors of surface normals, for each picture.

    Args:
        rmse: root of the mean squared angle, in degrees.
        within: share of pixels whose normal is off by less than 11.25, 22.5 and 30 degrees.
    """

    rmse: Float[Tensor, "*n"]
    within: Float[Tensor, "*n 3"]


def depth_scores(predicted: Float[Tensor, "*n h w"], depth: Float[Tensor, "*n h w"]) -> DepthScores:
    """Compare depths with the true ones.

    Args:
        predicted: what was read.
        depth: the truth.

    Raises:
        LayerwiseError: pictures of different numbers or sizes.

    Example:
        >>> depth = torch.tensor([[[1.0, 2.0], [4.0, torch.inf]]])
        >>> depth_scores(2 * depth, depth).relative.tolist()
        [1.0]
    """
    known = _known(predicted, depth, depth.isfinite() & (depth > 0))
    depth, predicted = depth.where(known, 1.0), predicted.where(known, 1.0)
    error = predicted - depth
    tiny = torch.finfo(depth.dtype).tiny
    factor = torch.maximum(predicted / depth, depth / predicted.clamp(min=tiny))
    limits = [1.25, 1.25**2, 1.25**3]
    return DepthScores(
        rmse=_mean(error.square(), known).sqrt(),
        relative=_mean(error.abs() / depth, known),
        within=torch.stack([_mean((factor < limit).to(depth), known) for limit in limits], -1),
    )


def normal_scores(
    predicted: Float[Tensor, "*n 3 h w"], normals: Float[Tensor, "*n 3 h w"]
) -> NormalScores:
    """Compare surface normals, of any length, with the true ones.

    Args:
        predicted: what was read.
        normals: the truth, of length 0 where there is none.

    Raises:
        LayerwiseError: pictures of different numbers or sizes.

    Example:
        >>> up = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)
        >>> normal_scores(up + up.roll(1, 1), up).rmse.round(decimals=3).tolist()
        [45.0]
    """
    known = _known(predicted, normals, (normals != 0).any(-3))
    # Better conditioned near 0 and 180 degrees than the arc cosine of the product.
    across = torch.linalg.cross(predicted, normals, dim=-3).norm(dim=-3)
    angle = torch.atan2(across, (predicted * normals).sum(-3)).rad2deg()
    limits = [11.25, 22.5, 30.0]
    return NormalScores(
        rmse=_mean(angle.square(), known).sqrt(),
        within=torch.stack([_mean((angle < limit).to(angle), known) for limit in limits], -1),
    )


def aligned(
    predicted: Float[Tensor, "*n h w"], depth: Float[Tensor, "*n h w"]
) -> Float[Tensor, "*n h w"]:
    """Depths under the scale and shift, one for each picture, that fit the truth best.

    Scores of these are scale-invariant: they forgive an unknown unit and an unknown zero.

    Args:
        predicted: what was read.
        depth: the truth.

    Raises:
        LayerwiseError: pictures of different numbers or sizes.

    Example:
        >>> depth = torch.tensor([[[1.0, 2.0], [4.0, 3.0]]])
        >>> bool(torch.allclose(aligned(5 - 3 * depth, depth), depth))
        True
    """
    known = _known(predicted, depth, depth.isfinite() & (depth > 0))
    truth = depth.where(known, 0.0)
    x_mean, y_mean = _mean(predicted, known), _mean(truth, known)
    x, y = predicted - x_mean[..., None, None], truth - y_mean[..., None, None]
    variance = _mean(x.square(), known)
    slope = (_mean(x * y, known) / variance.where(variance > 0, 1.0))[..., None, None]
    return slope * x + y_mean[..., None, None]


def _known(predicted: Tensor, truth: Tensor, known: Bool[Tensor, "*n h w"]) -> Tensor:
    if predicted.shape != truth.shape:
        raise LayerwiseError(
            f"predictions of shape {tuple(predicted.shape)} for a truth of {tuple(truth.shape)}; "
            "bring both to one size"
        )
    return known


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return values.where(known, 0.0).sum((-2, -1)) / known.sum((-2, -1))
