"""Photographs and texts to be explained, with the networks that judge them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

import layerwise
from layerwise.data._photographs import pixels_of
from layerwise.explain import Target
from layerwise.features import Mean
from layerwise.models import Network
from layerwise.search import Logistic

SIDE = 128
"""Pixels of a photograph: small, that the tests are quick."""

_PHOTOS = ("cat", "rocket", "coffee", "flower", "china", "motorcycle")


@functools.cache
def classifier() -> Network:
    """EfficientNet-Lite0, a network of convolutions with ReLU6."""
    return layerwise.open("efficientnet-lite0")


@functools.cache
def photographs() -> tuple[Tensor, Tensor]:
    """Six photographs, and what the classifier takes each for."""
    network = classifier()
    whole = network.batch([network.prepare(pixels_of(name)) for name in _PHOTOS])
    small = nn.functional.interpolate(whole, (SIDE, SIDE), mode="area")
    return small, Target().read(network, small).argmax(1)


@functools.cache
def texts() -> tuple[Network, list[str], Tensor, Target]:
    """MiniLM, sentences of two packages' sources, which package, and what a readout makes of it.

    The readout is fitted on the first half; the target reads the mean of the last layer with it.
    """
    network = layerwise.open("minilm-l6")
    samples = layerwise.data.open("stdlib", targets=["package", "kind"], seed=0)
    package, kind = samples.targets["package"], samples.targets["kind"]
    two = [package.classes.index(name) for name in ("email", "asyncio")]
    prose = kind.values != kind.classes.index("code")
    rows = [i for i in range(len(samples)) if int(package.values[i]) in two and bool(prose[i])]
    said = [" ".join(samples.load(i).split()[:14]) for i in rows]
    labels = torch.tensor([two.index(int(package.values[i])) for i in rows])
    pooled = Target("encoder.layer.5", Mean()).read(network, batch(network, said))
    half = len(said) // 2
    readout = Logistic.fit(pooled[:half], labels[:half], penalties=(0.1,))
    return network, said, labels, Target("encoder.layer.5", Mean(), lambda rows: readout(rows)[0])


def batch(network: Network, said: list[str]) -> dict[str, Tensor]:
    """A batch of texts."""
    inputs = network.batch([network.prepare(text) for text in said])
    assert isinstance(inputs, dict)
    return inputs
