"""SuperGlobal's descriptor of a convolutional map, and of several scales of a picture (P159).

Small values are raised to `floor` (ReLU-p), every place is averaged half and half with the
generalised mean of its window (Regional-GeM), and the map is pooled by GeM with a high power.
Descriptors of several scales are brought to length 1 and joined by their maximum (Scale-GeM).
Ours: on maps too small to be mirrored that far the window shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import GeM
from layerwise.features._finite import require_finite


@paper(
    "Global Features are All You Need for Image Retrieval and Reranking",
    year=2023,
    arxiv="2308.06954",
    no=(159,),
)
def super_global(
    feature_map: Float[Tensor, "n c h w"],
    *,
    power: float = 4.6,
    floor: float = 0.014,
    regional_power: float = 2.5,
    window: int = 5,
) -> Float[Tensor, "n c"]:
    """Describes pictures by ReLU-p, Regional-GeM and GeM of a convolutional map.

    Args:
        feature_map: after a ReLU; what is negative counts as `floor`.
        power: of the pooling over all places.
        floor: what smaller values are raised to, positive.
        regional_power: of the mean over each place's window.
        window: side of the window, odd; it is mirrored at the border.

    Raises:
        LayerwiseError: the map is not finite, a power or the floor is not positive, or the window
            is even.

    Example:
        >>> flat = torch.full((1, 2, 6, 6), 0.5)
        >>> bool(torch.allclose(super_global(flat), torch.full((1, 2), 0.5)))
        True
    """
    require_finite(feature_map, "maps")
    if window < 1 or window % 2 == 0 or not regional_power > 0:
        raise LayerwiseError(
            f"window={window}, regional_power={regional_power}: "
            "give an odd side and a positive power"
        )
    pool = GeM(p=power, floor=floor)
    if len(feature_map) == 0:
        return feature_map.new_empty(feature_map.shape[:2])
    x = feature_map.clamp(min=floor)
    largest = x.amax((2, 3), keepdim=True)  # keeps high powers finite, and changes nothing
    reach = min(window // 2, x.shape[2] - 1, x.shape[3] - 1)  # a mirror is no wider than the map
    mirrored = nn.functional.pad(x / largest, (reach,) * 4, mode="reflect")
    regions = nn.functional.avg_pool2d(mirrored.pow(regional_power), 2 * reach + 1, stride=1)
    x = 0.5 * x + 0.5 * largest * regions.pow(1 / regional_power)
    return pool(x.flatten(2).transpose(1, 2))


def scale_gem(descriptors: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"]:
    """Join descriptors of the same pictures at several scales: the maximum of unit vectors.

    Args:
        descriptors: one set of rows for each scale.

    Raises:
        LayerwiseError: there are none.

    Example:
        >>> scale_gem([torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])]).tolist()
        [[1.0, 1.0]]
    """
    if not descriptors:
        raise LayerwiseError(
            "there are no descriptors to join; give one set of rows for each scale"
        )
    units = [nn.functional.normalize(rows, dim=1) for rows in descriptors]
    return torch.stack(units).amax(0)
