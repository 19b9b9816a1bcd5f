"""A network that explains a network: its layer told anew by parts that each keep to a place (P227).

A layer's maps go two ways. On the first, two layers of filters each multiply a filter's map by a
template around its strongest place, so that it can speak of one place only; on the second, plain
convolutions keep what is no part. Both are brought to one size and mixed, p parts + (1 - p) rest,
and a decoder gives the layer back. Nothing is labelled: the loss is

    |x' - x|^2 + |above(x') - above(x)|^2 - eta log p - lambda MI(maps; templates)

with each distance over the variance, and the last term of `_templates`.

Ours: the decoder gives back the layer itself, and the network's own frozen continuation `above`
stands for the paper's decoder layers that mirror it. The size of a way is its root mean square: by
their mean, maps that are zero but for a few places would be drawn up to spikes that drown the rest.
All filters begin as the layer's own channels, up and down, with a little noise; from random weights
the decoder learns to do without the parts before they stand for anything, and they fall silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.explain._templates import fits, information, templates
from layerwise.explain._training import descend
from layerwise.features._finite import require_finite
from layerwise.models._seeded import seeded

_NOISE = 0.1
"""Of the usual first weights, beside the start."""

_SWIFT = 30.0
"""How much faster the share is learned than the filters: it is one number among many steps."""


@final
@dataclass(frozen=True)
class Told:
    """A layer's maps, told anew.

    Args:
        parts: where each part is, and how strongly; zero elsewhere.
        decoded: the maps put together again.
    """

    parts: Float[Tensor, "n p h w"]
    decoded: Float[Tensor, "n c h w"]


@final
@paper(
    "Unsupervised Learning of Neural Networks to Explain Neural Networks",
    year=2018,
    arxiv="1805.07468",
    no=(227,),
)
class ExplainerNetwork(nn.Module):
    """Tells a layer's maps by parts. Build it with `fit`.

    Args:
        channels: of the layer.
        grid: rows and columns of its maps.

    Example:
        >>> maps = torch.rand(20, 4, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> told = ExplainerNetwork.fit(maps, epochs=2)(maps)
        >>> told.parts.shape, told.decoded.shape
        (torch.Size([20, 8, 5, 5]), torch.Size([20, 4, 5, 5]))
    """

    templates: Float[Tensor, "t s"]
    mean: Float[Tensor, "c 1 1"]
    scale: Float[Tensor, "c 1 1"]
    sizes: Float[Tensor, " 2"]

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        wide = 2 * channels
        self.entry, self.first, self.second = (
            nn.Conv2d(before, wide, 3, padding=1) for before in (channels, wide, wide)
        )
        self.rest = nn.Sequential(
            nn.Conv2d(channels, wide, 1), nn.ReLU(), nn.Conv2d(wide, wide, 1), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(wide, wide, 1), nn.ReLU(), nn.Conv2d(wide, channels, 1)
        )
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("templates", templates(*grid))
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.register_buffer("sizes", torch.ones(2))

    @classmethod
    def fit(
        cls,
        feature_map: Float[Tensor, "n c h w"],
        *,
        above: Callable[[Float[Tensor, "m c h w"]], Tensor] | None = None,
        push: float = 0.1,
        place: float = 0.05,
        epochs: int = 16,
        batch: int = 16,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> ExplainerNetwork:
        """Train it.

        Args:
            feature_map: what a layer gives for pictures.
            above: what the network makes of such maps further on; without it only the maps
                themselves are to be given back.
            push: eta, towards the parts.
            place: lambda, of each filter's fit to the templates.
            epochs: times that all maps come by.
            batch: maps in a step.
            rate: of Adam, falling along a cosine.
            generator: for the first weights and the order; seed 0 without it.
            progress: called as `progress(stage, done, total)` after every step.

        Raises:
            LayerwiseError: fewer than 2 maps, values that are not finite, more parts than
                channels, or an option below 1.
        """
        require_finite(feature_map)
        n, channels, *grid = feature_map.shape
        if n < 2:
            raise LayerwiseError(f"{n} maps; give at least 2")
        generator = generator or torch.Generator().manual_seed(0)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with seeded(seed):
            made = cls(channels, (grid[0], grid[1])).to(feature_map)
        feature_map = feature_map.detach()
        made._begin(feature_map)

        def loss(rows: Tensor) -> Tensor:
            return made._loss(feature_map[rows], above, push=push, place=place)

        descend(
            made,
            loss,
            n,
            epochs=epochs,
            batch=batch,
            rate=rate,
            generator=generator,
            progress=progress,
        )
        with torch.no_grad():
            rows = made._standard(feature_map)
            made.sizes = made._sizes(made._parts(rows)[2], made.rest(rows))
        return made

    @property
    def share(self) -> Float[Tensor, ""]:
        """How much of what is decoded comes from the parts, from 0 to 1."""
        return (_SWIFT * self.weight).sigmoid()

    def forward(self, feature_map: Float[Tensor, "n c h w"]) -> Told:
        """Tell maps of the layer by parts.

        Raises:
            LayerwiseError: a value is not finite, or maps of another size than those of `fit`.
        """
        require_finite(feature_map)
        h, w = feature_map.shape[2:]
        if self.templates.shape[1] != h * w:
            raise LayerwiseError(
                f"maps of {h} x {w} places; it was fitted to maps of {self.templates.shape[1]}"
            )
        rows = self._standard(feature_map)
        parts = self._parts(rows)[2]
        return Told(parts, self._decoded(parts, self.rest(rows), self.sizes))

    def _begin(self, feature_map: Tensor) -> None:
        """Measure the channels, and let everything begin as the layer's own channels."""
        spread = feature_map.std((0, 2, 3), correction=0)
        self.mean = feature_map.mean((0, 2, 3))[:, None, None]
        self.scale = torch.where(spread > 1e-6 * spread.amax(), spread, 1)[:, None, None]
        eye = torch.eye(len(spread), dtype=spread.dtype, device=spread.device)
        both = torch.cat([eye, -eye])
        same = torch.eye(len(both), dtype=spread.dtype, device=spread.device)
        starts: list[tuple[nn.Module, Tensor]] = [
            *((self.entry, both), (self.first, same), (self.second, same)),
            *((self.rest[0], both), (self.rest[2], same)),
            *((self.decoder[0], same), (self.decoder[2], both.T)),
        ]
        rows = self._standard(feature_map)
        with torch.no_grad():
            for filters, start in starts:
                weight = filters.get_parameter("weight").mul_(_NOISE)
                middle = weight.shape[2] // 2
                weight[:, :, middle, middle] += start
                filters.get_parameter("bias").zero_()
            # Half of what is mixed is the rest, divided by its size.
            size = self._sizes(rows, self.rest(rows))[1]
            self.decoder.get_parameter("2.weight").mul_(2 * size)

    def _standard(self, feature_map: Tensor) -> Tensor:
        return (feature_map - self.mean) / self.scale

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of both layers of filters before their templates, and what the second leaves."""
        found, before = functional.relu(self.entry(rows)), []
        for filters in (self.first, self.second):
            maps = functional.relu(filters(found))
            at = maps.flatten(2).argmax(dim=2)
            found = functional.relu(maps * self.templates[at].view_as(maps))
            before.append(maps.flatten(2))
        return before[0], before[1], found

    def _sizes(self, parts: Tensor, rest: Tensor) -> Float[Tensor, " 2"]:
        """Mean answers of both ways."""
        return torch.stack([each.square().mean() for each in (parts, rest)]).clamp(min=1e-12).sqrt()

    def _decoded(self, parts: Tensor, rest: Tensor, sizes: Tensor) -> Tensor:
        mixed = self.share * parts / sizes[0] + (1 - self.share) * rest / sizes[1]
        return self.decoder(mixed) * self.scale + self.mean

    def _loss(
        self,
        feature_map: Tensor,
        above: Callable[[Tensor], Tensor] | None,
        *,
        push: float,
        place: float,
    ) -> Tensor:
        rows = self._standard(feature_map)
        first, second, parts = self._parts(rows)
        rest = self.rest(rows)
        decoded = self._decoded(parts, rest, self._sizes(parts, rest))
        told = sum(information(fits(maps, self.templates)).mean() for maps in (first, second)) / 2
        loss = (self._standard(decoded) - rows).square().mean()
        loss = loss - push * self.share.log() - place * told
        if above is None:
            return loss
        true = above(feature_map)
        variance = true.var(correction=0).clamp(min=1e-12)
        return loss + (above(decoded) - true).square().mean() / variance
