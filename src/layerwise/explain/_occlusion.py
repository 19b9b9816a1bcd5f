"""Occlusion: hide one window after another and see by how much the score falls.

No gradient is asked for, so any network will do. A place gets the mean fall over all windows that
covered it, as in captum. Windows are an eighth of the picture's side and overlap by half (P215's
choice); in texts and rows of numbers each place is a window of its own.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs
from layerwise.explain._hide import Hide, covered, places_of
from layerwise.explain._target import Target, chosen
from layerwise.models import Network
from layerwise.models._examples import repeated


def occlusion(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
    window: int | None = None,
    stride: int | None = None,
    hide: Hide = covered,
) -> Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"]:
    """How much a score falls when a place is hidden.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        target: what is explained; the default is what the network returns.
        window: places in a row that are hidden together.
        stride: places from one window to the next; the default is half a window.
        hide: how they are hidden.

    Returns:
        One number a place, positive where it speaks for the score.

    Raises:
        LayerwiseError: a window that does not fit, a label out of range, inputs that the network
            does not run on.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Linear(3, 2, bias=False)
        >>> network = layerwise.open(module, example=torch.zeros(1, 3))
        >>> falls = occlusion(network, torch.ones(1, 3), torch.tensor([1]))[0, :, 0]
        >>> bool((falls - module.weight[1]).abs().max() < 1e-6)
        True
    """
    n, places = require_inputs(inputs), places_of(inputs)
    size = window or (max(1, min(places) // 8) if len(places) == 2 else 1)
    step = stride or max(1, size // 2)
    if not 1 <= size <= min(places) or step < 1:
        raise LayerwiseError(
            f"window={size} and stride={step} do not fit {' x '.join(map(str, places))} places"
        )
    regions = _windows(places, size, step)
    falls = torch.stack(
        [fall(network, part(inputs, i, i + 1), labels[i : i + 1], regions, target=target, hide=hide)
         for i in range(n)]
    )  # fmt: skip
    return spread(falls, regions)


def fall(
    network: Network,
    sample: Inputs,
    label: Int[Tensor, " 1"],
    regions: Bool[Tensor, r * places],
    *,
    target: Target | None = None,
    hide: Hide = covered,
    at_once: int = 64,
) -> Float[Tensor, " r"]:
    """How much a sample's score falls when each of several regions is hidden.

    Args:
        network: the network, which is left as it was.
        sample: a batch of one.
        label: column of the target.
        regions: true where a region is.
        target: what is explained.
        hide: how a region is hidden.
        at_once: regions in one forward.
    """
    whole = chosen(hide(network, sample, target=target), label)
    parts = [
        chosen(
            hide(network, repeated(sample, len(some)), keep=~some, target=target),
            label.expand(len(some)),
        )
        for some in regions.split(at_once)
    ]
    return whole - torch.cat(parts)


def spread(
    values: Float[Tensor, "n r"], regions: Bool[Tensor, r * places]
) -> Float[Tensor, "n 1 h w"] | Float[Tensor, "n t 1"]:
    """Give each place the mean of the regions that cover it.

    Args:
        values: of each region, for each sample.
        regions: true where a region is.
    """
    flat = regions.flatten(1).to(values)
    means = values @ flat / flat.sum(0).clamp(min=1)
    places = regions.shape[1:]
    return means.view(-1, 1, *places) if len(places) == 2 else means.unsqueeze(2)


def _windows(places: tuple[int, ...], size: int, step: int) -> Bool[Tensor, r * places]:
    """All windows, the last one reaching over the edge where the steps do not fit."""
    along = []
    for length in places:
        starts = torch.arange(-(-max(0, length - size) // step) + 1) * step
        where = torch.arange(length) - starts.unsqueeze(1)
        along.append((where >= 0) & (where < size))
    if len(along) == 1:
        return along[0]
    rows, columns = along
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)
