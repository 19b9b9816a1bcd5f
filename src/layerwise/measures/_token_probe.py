"""Does a single place of a layer tell the class, or only all of them together?

A linear classifier is fitted to each place by itself, over many pictures, and one to the mean of
all places. P219 finds that single places know nearly as much as their mean in the last layers of a
network that was trained on that mean, and that with a class token only that token does. Ours: the
classifier is ridge regression on the classes, which answers for every picture as if that had been
left out, so that all places and their mean answer for the same pictures and are compared in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._bootstrap import Interval, bootstrap_mean
from layerwise.measures._left_out import right_when_left_out
from layerwise.measures._on_grid import on_grid
from layerwise.models import Network
from layerwise.search._labelled import require_labelled

_LEAST = 8


@final
@dataclass(frozen=True)
class TokenProbe:
    """How well classes are read off the parts of a layer, as accuracies.

    Args:
        layer: its address.
        grid: rows and columns of its places.
        places: of each place by itself, row by row.
        prefix: of each token that is no place, such as the class token.
        single: mean over the places, with its 95 % interval over the pictures.
        pooled: of the mean of all places.
        gain: by how much that is above the mean over the places, paired.
    """

    layer: str
    grid: tuple[int, int]
    places: Float[Tensor, " p"]
    prefix: Float[Tensor, " q"]
    single: Interval
    pooled: Interval
    gain: Interval


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def token_probe(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    labels: Int[Tensor, " n"],
    *,
    layer: str = "100%",
    side: int = 16,
) -> TokenProbe:
    """Read classes off each place of one layer, and off their mean.

    Args:
        network: of pictures.
        image: at least 8, better some hundreds: each of them is told by a fit to all others.
        labels: class of each picture.
        layer: an address, or a pattern that picks one; the last block by default.
        side: most rows and columns of places; a larger map is averaged.

    Raises:
        LayerwiseError: too few pictures, missing labels, one class only, no such layer or several,
            or one without places.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = token_probe(**examples(token_probe), layer="0", side=2)
        >>> found.grid, found.places.shape, bool(found.single.low <= found.places.mean())
        ((2, 2), torch.Size([4]), True)
    """
    require_labelled(image, labels)
    classes = len(labels.unique())
    if len(image) < _LEAST or classes < 2:
        raise LayerwiseError(
            f"{len(image)} pictures of {classes} classes; give at least {_LEAST}, of two classes "
            "or more"
        )
    seen = on_grid(network, image, layer, side=side)
    labels = labels.to(seen.places.device)
    places, prefix = (
        torch.stack([right_when_left_out(part, labels) for part in parts.unbind(1)], 1)
        if parts.shape[1]
        else parts.new_zeros(len(parts), 0)
        for parts in (seen.places, seen.prefix)
    )
    pooled = right_when_left_out(seen.places.mean(1), labels)
    single = places.mean(1)
    return TokenProbe(
        layer=seen.layer,
        grid=seen.grid,
        places=places.mean(0),
        prefix=prefix.mean(0),
        single=bootstrap_mean(single),
        pooled=bootstrap_mean(pooled),
        gain=bootstrap_mean(pooled, other=single),
    )
