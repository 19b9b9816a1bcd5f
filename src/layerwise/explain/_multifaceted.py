"""Multifaceted visualisation: one picture for each kind of thing that a unit answers to (P095).

Pictures that excite the unit are laid out by what a late layer makes of them: principal components,
t-SNE, k-means. Each cluster is a facet. The mean of the pictures nearest to its centre is where
activation maximisation starts. Two things keep it from covering everything with fragments: little
total variation, and a window around the middle that the gradient is multiplied with and that widens
as the ascent goes on. Steps are as long in each picture whatever the gradient, and get shorter.

Ours: the window is a Gaussian, where the paper cuts a square out of the middle; and few pictures
are clustered without t-SNE, see `_clusters`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress, ascend
from layerwise.explain._clusters import central_means, clusters
from layerwise.explain._differentiable import differentiable, require_inputs
from layerwise.explain._pixel_ascent import shifted, total_variation
from layerwise.explain._pixels import Pixels
from layerwise.explain._response import Unit, layer_of, places, respond
from layerwise.models import Network


@final
@dataclass(frozen=True)
class Facets:
    """The kinds of things that a unit answers to, k of them.

    Args:
        pictures: of each facet, with values from 0 to 1.
        starts: the means that they were made from.
        members: facet of each picture that was given; -1 for those that were left out.
        shares: of the pictures in each facet.
        reached: the unit's answer to each picture.
        likeness: cosine of the codes of every two pictures.
    """

    pictures: Float[Tensor, "k c h w"]
    starts: Float[Tensor, "k c h w"]
    members: Int[Tensor, " n"]
    shares: Float[Tensor, " k"]
    reached: Float[Tensor, " k"]
    likeness: Float[Tensor, "k k"]


@paper(
    "Multifaceted Feature Visualization: Uncovering the Different Types of Features Learned By "
    "Each Neuron in Deep Neural Networks",
    year=2016,
    arxiv="1602.03616",
    no=(95,),
)
def multifaceted(
    network: Network,
    image: Float[Tensor, "n c h w"],
    *,
    layer: str | None = None,
    unit: Unit = 0,
    code: str = "100%",
    top: int | None = None,
    facets: int = 10,
    nearest: int = 15,
    steps: int | None = None,
    rate: float = 0.02,
    tv: float = 0.001,
    shift: int = 4,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Facets:
    """Find and draw the facets of a unit.

    Args:
        network: one that takes pictures.
        image: pictures as the network takes them, such as all of a class.
        layer: address of one layer; without it, the network's output.
        unit: number of a channel or class, or a direction `[d]` in the layer.
        code: late layer that the pictures are laid out by.
        top: use only so many pictures, those that the unit answers to most.
        facets: most clusters.
        nearest: pictures around each centre whose mean starts the facet.
        steps: of each ascent; without it, 300 for networks that take 224 pixels, and in proportion
            fewer for less.
        rate: root mean square of a pixel's change in the first step; it falls to a tenth.
        tv: weight of the total variation.
        shift: most pixels that the picture is moved in each step.
        generator: for all chance; seed 0 without it.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: fewer than two pictures, or there is no such layer or unit.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = multifaceted(**examples(multifaceted), facets=2, steps=2)
        >>> found.pictures.shape, round(float(found.shares.sum()), 6)
        (torch.Size([2, 3, 8, 8]), 1.0)
    """
    if require_inputs(image) < 2:
        raise LayerwiseError("one picture has no facets; give at least two")
    if min(facets, nearest) < 1:
        raise LayerwiseError(f"{facets} facets of {nearest} pictures; give at least 1 of each")
    pixels, chosen, late = Pixels.of(network), layer_of(network, layer), layer_of(network, code)
    count = pixels.steps(300) if steps is None else steps
    generator = generator or torch.Generator().manual_seed(0)
    with differentiable(network), torch.no_grad():
        answers = _many(lambda part: respond(network, part, chosen, unit), image)
        order = answers.argsort(descending=True, stable=True)[: len(image) if top is None else top]
        codes = _many(lambda part: places(network, part, late).mean(1), image[order])
        plane, index = clusters(codes, facets, generator)
    starts = pixels.unfed(central_means(image[order], plane, index, nearest))
    found: list[Tensor] = []
    for start in starts:

        def objective(
            picture: Tensor, _: int, chance: torch.Generator
        ) -> tuple[Tensor, Tensor, Tensor]:
            seen = shifted(picture, 1, shift, chance)
            answer = respond(network, pixels.feed(seen), chosen, unit)[0]
            return answer - tv * total_variation(picture), answer, picture

        with differentiable(network):
            summit = ascend(
                start,
                objective,
                steps=count,
                optimiser=lambda changed: torch.optim.SGD(changed, lr=rate),
                generator=generator,
                bend=lambda gradient, step: _bent(gradient, step / count),
                after=lambda picture: picture.clamp(0, 1),
                progress=None if progress is None else _part(progress, len(found), len(starts)),
            )
        found.append(summit.start)
    pictures = torch.stack(found)
    with differentiable(network), torch.no_grad():
        seen = pixels.feed(pictures)
        reached = respond(network, seen, chosen, unit)
        ends = nn.functional.normalize(places(network, seen, late).mean(1), dim=1)
    members = torch.full((len(image),), -1, device=image.device).index_copy(0, order, index)
    shares = index.bincount(minlength=len(starts)) / len(index)
    return Facets(pictures, starts, members, shares.to(starts), reached, ends @ ends.T)


def _many(work: Callable[[Tensor], Tensor], image: Tensor, *, at_once: int = 32) -> Tensor:
    return torch.cat([work(part) for part in image.split(at_once)])


def _bent(gradient: Float[Tensor, "c h w"], done: float) -> Float[Tensor, "c h w"]:
    """A gradient seen through a window around the middle that widens, of a length that falls."""
    rows, columns = (torch.linspace(-1, 1, n).to(gradient) for n in gradient.shape[1:])
    far = rows[:, None].square() + columns.square()
    seen = gradient * (-far / (2 * (0.3 + 1.2 * done) ** 2)).exp()
    length = seen.square().mean().sqrt().clamp(min=torch.finfo(seen.dtype).tiny)
    return seen / length * (1 - 0.9 * done)


def _part(progress: Progress, facet: int, facets: int) -> Progress:
    """Steps of one ascent as a part of all."""
    return lambda stage, done, total: progress(stage, facet * total + done, facets * total)
