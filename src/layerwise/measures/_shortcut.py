"""Two cues to one answer, of which one predicts more and the other is easier to see.

The data of P131. The answer y is 1 or -1; both cues are y times their mean, plus Gaussian noise of
variance 1 that they share in part. A cue's predictivity is how often its sign is the answer,
Phi(mean); nothing is cut off, which would lower it. How available a cue is lies in how it is shown:
by its size among the inputs (`amplified`), or in pictures (`pictured`), where the shortcut is the
colour of the ground and the core cue the size of a disc at a random place.

A decision relies on a cue as far as it follows its sign over an even grid of both; the bias is how
much more it relies on the shortcut than on the core cue, beyond what the best classifier does.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError

_REACH = 3.0
"""Values of the cues that the grid covers, on either side of 0."""


@final
@dataclass(frozen=True)
class Shortcut:
    """A shortcut and a core cue.

    Args:
        predictivity: of the shortcut and of the core cue.
        shared: correlation of their noise.

    Example:
        >>> shortcut = Shortcut()
        >>> latents = shortcut.grid()
        >>> bool(shortcut.bias(shortcut.best(latents), latents).abs() < 1e-9)
        True
        >>> bool(shortcut.bias(latents[:, 0] > 0, latents) > 0.5)
        True
    """

    predictivity: tuple[float, float] = (0.85, 0.9)
    shared: float = 0.6

    @property
    def means(self) -> Float[Tensor, " 2"]:
        """Mean of each cue where the answer is 1."""
        if not all(0.5 < share < 1 for share in self.predictivity):
            raise LayerwiseError(f"predictivity={self.predictivity}, expected between 0.5 and 1")
        normal = NormalDist()
        means = [normal.inv_cdf(share) for share in self.predictivity]
        return torch.tensor(means, dtype=torch.float64)

    def draw(
        self, samples: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "n 2"], Int[Tensor, " n"]]:
        """Cues and answers, 1 or 0.

        Args:
            samples: how many.
            generator: for the draw.
        """
        answers = torch.randint(2, (samples,), generator=generator)
        noise = torch.randn(samples, 2, generator=generator, dtype=torch.float64)
        factor = torch.linalg.cholesky(self._covariance())
        return (2 * answers[:, None] - 1) * self.means + noise @ factor.T, answers

    def grid(self, side: int = 40) -> Float[Tensor, "m 2"]:
        """Cues evenly over the values that occur, none of them 0.

        Args:
            side: values of each.
        """
        line = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 * _REACH - _REACH
        line = line[line != 0]
        return torch.cartesian_prod(line, line)

    def best(self, latents: Float[Tensor, "m 2"]) -> Bool[Tensor, " m"]:
        """What the best classifier of these cues decides: linear discriminant analysis."""
        return latents @ torch.linalg.solve(self._covariance(), self.means) > 0

    def reliance(
        self, decisions: Bool[Tensor, " m"], latents: Float[Tensor, "m 2"]
    ) -> Float[Tensor, " 2"]:
        """How far decisions follow the sign of each cue: 1 always, 0 as often as not."""
        return 2 * (decisions[:, None] == (latents > 0)).double().mean(0) - 1

    def bias(
        self, decisions: Bool[Tensor, " m"], latents: Float[Tensor, "m 2"]
    ) -> Float[Tensor, ""]:
        """Over-reliance on the shortcut: 0 for none, 1 at most.

        Args:
            decisions: for each point of a grid, whether the answer was 1.
            latents: the grid.
        """
        own = self.reliance(decisions, latents) - self.reliance(self.best(latents), latents)
        return (own[0] - own[1]) / 2

    def _covariance(self) -> Float[Tensor, "2 2"]:
        return torch.tensor([[1.0, self.shared], [self.shared, 1.0]], dtype=torch.float64)


def amplified(
    latents: Float[Tensor, "n 2"],
    *,
    ratio: float,
    dim: int = 100,
    generator: torch.Generator,
) -> Float[Tensor, "n dim"]:
    """Inputs in which each cue is the length along a random direction.

    Args:
        latents: shortcut and core cue.
        ratio: how many times longer the shortcut is than the core cue.
        dim: width of the inputs.
        generator: for the directions.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> amplified(torch.eye(2), ratio=4.0, dim=9, generator=generator).norm(dim=1).sum().item()
        1.25
    """
    directions = torch.randn(2, dim, generator=generator, dtype=latents.dtype)
    directions = torch.nn.functional.normalize(directions, dim=1)
    return latents * latents.new_tensor([1.0, 1 / ratio]) @ directions


def pictured(
    latents: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    contrast: float = 1.0,
    generator: torch.Generator,
) -> Float[Tensor, "n 3 h w"]:
    """Pictures of a disc on a coloured ground.

    Args:
        latents: the shortcut, from a blue to a red ground, and the core cue, from a small disc to
            a large one.
        size: height and width in pixels.
        contrast: of the ground's colours; 0 hides the shortcut.
        generator: for the place and the grey of each disc.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = pictured(torch.tensor([[3.0, 3.0]]), (8, 8), generator=generator)
        >>> bool(images[0, 0, 0, 0] > images[0, 2, 0, 0])
        True
    """
    count, shorter = len(latents), min(size)
    level = (0.12 * contrast * latents[:, 0]).clamp(-0.5, 0.5)
    ground = torch.stack([0.5 + level, torch.full_like(level, 0.5), 0.5 - level], 1)
    radius = shorter * (0.2 + 0.04 * latents[:, 1]).clamp(0.02, 0.48)
    free = torch.rand(count, 2, generator=generator, dtype=latents.dtype)
    middle = radius[:, None] + free * (latents.new_tensor(size) - 2 * radius[:, None])
    grey = 0.15 + 0.7 * torch.rand(count, generator=generator, dtype=latents.dtype)
    rows, columns = (torch.arange(n, dtype=latents.dtype) + 0.5 for n in size)
    apart = torch.hypot(
        rows[None, :, None] - middle[:, 0, None, None], columns - middle[:, 1, None, None]
    )
    inside = (radius[:, None, None] - apart + 0.5).clamp(0, 1)[:, None]
    return inside * grey[:, None, None, None] + (1 - inside) * ground[:, :, None, None]
