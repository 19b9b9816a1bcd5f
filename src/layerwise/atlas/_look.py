"""A look at a few inputs: what each layer sees as alike in them, as colours and as concepts.

Concepts are found in the places of the inputs that are shown; what they leave out is told of as
many others. Maps are made coarser first: a page shows no finer ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from layerwise.atlas._atlas import LayerPicture
from layerwise.atlas._inside_rows import Concept, Looked
from layerwise.atlas._show import data_uri, pictures
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.explain import NonNegative
from layerwise.explain._differentiable import Inputs
from layerwise.explain._invertible_concepts import real_places
from layerwise.explain._sample import picture_of, tokens_of
from layerwise.models import Network
from layerwise.taps import read
from layerwise.taps._places import placed

_INPUTS = 6
_TOKENS = 48
"""Tokens of a text that are looked at."""
_FINEST = 28
"""Rows and columns of a map that concepts are found in, at most."""
_CONCEPTS, _ITERATIONS, _TOLERANCE = 4, 60, 1e-4
_LEVELS = 9
_SIDE = 96


@final
@dataclass(frozen=True)
class Look:
    """What one forward of a few inputs showed; `concepts` and what they leave out are by layer."""

    looked: tuple[Looked, ...]
    pictures: tuple[LayerPicture, ...]
    concepts: Mapping[str, tuple[tuple[Concept, ...], float | None]]


def look(network: Network, samples: Samples, shown: Sequence[int], layers: Sequence[str]) -> Look:
    """Look into a few of the shown samples; as many others tell what concepts leave out.

    Args:
        network: the network.
        samples: the data.
        shown: rows of the samples that the atlas shows.
        layers: addresses.
    """
    spread = torch.linspace(0, len(shown) - 1, min(len(shown), 2 * _INPUTS)).long().tolist()
    seen, others = spread[::2], spread[1::2]
    prepared: list[Any] = [network.prepare(samples.load(shown[i])) for i in (*seen, *others)]
    if network.modality == "text":
        prepared = [{**each, "input_ids": each["input_ids"][:_TOKENS]} for each in prepared]
    inputs = network.batch(prepared)
    looked = tuple(
        Looked(network.name, at, _seen(network, inputs, i), tokens_of(network, inputs, i))
        for i, at in enumerate(seen)
    )
    if not any(each.picture or each.words for each in looked):
        return Look((), (), {})
    values = read(network, inputs, layers)
    coloured = () if network.modality == "text" else pictures(network, values, seen)
    laid = dict(_laid(network, inputs, values))
    return Look(looked, coloured, dict(_concepts(inputs, laid, len(seen))))


def _laid(
    network: Network, inputs: Inputs, values: Mapping[str, Tensor]
) -> Iterator[tuple[str, Float[Tensor, "n ..."]]]:
    """What the layers that have places give at them."""
    for name, value in values.items():
        with suppress(LayerwiseError):  # no places
            yield name, placed(network, network.layers[name], value, inputs).float().cpu()


def _concepts(
    inputs: Inputs, maps: Mapping[str, Tensor], shown: int
) -> Iterator[tuple[str, tuple[tuple[Concept, ...], float | None]]]:
    """The concepts of each layer."""
    for name, laid in maps.items():
        if laid.ndim == 4:
            coarse = functional.avg_pool2d(laid, -(-max(laid.shape[2:]) // _FINEST))
            grid, places = (coarse.shape[2], coarse.shape[3]), coarse.flatten(2).transpose(1, 2)
        else:
            grid, places = (1, laid.shape[1]), laid
        real = real_places(inputs, places).cpu()
        if real[:shown].sum() < _CONCEPTS or not bool(places[real].isfinite().all()):
            continue
        factors = NonNegative.fit(
            places[:shown][real[:shown]],
            count=_CONCEPTS,
            iterations=_ITERATIONS,
            tolerance=_TOLERANCE,
        )
        scores = factors(places.flatten(0, 1)).unflatten(0, places.shape[:2]) * real[..., None]
        others = places[shown:][real[shown:]]
        missed = others - factors.restore(scores[shown:][real[shown:]])
        left_out = float(missed.norm() / others.norm()) if others.any() else None
        yield name, (tuple(_heated(scores[:shown], grid)), left_out)


def _heated(scores: Float[Tensor, "n t k"], grid: tuple[int, int]) -> Iterator[Concept]:
    """The concepts, the most present first, in digits."""
    total = scores.sum(dim=(0, 1))
    shares = total / total.sum().clamp(min=1e-12)
    for k in shares.argsort(descending=True, stable=True).tolist():
        most = scores[..., k].max().clamp(min=1e-12)
        levels = (_LEVELS * scores[..., k] / most).round().int().tolist()
        heat = tuple("".join(map(str, each)) for each in levels)
        yield Concept(float(shares[k]), *grid, heat)


def _seen(network: Network, inputs: Inputs, i: int) -> str:
    """A small picture of an input as the network got it."""
    from PIL import Image

    picture = picture_of(network, inputs, i)
    if picture is None:
        return ""
    pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return data_uri(image, "JPEG")
