"""Which cells of a map matter: by their length, or as labels of whole pictures teach it (P226)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.search._labelled import require_labelled


@final
class Norm(nn.Module):
    """Scores a cell by its distance to the mean cell.

    Args:
        mean: of all cells.
    """

    mean: Float[Tensor, " d"]

    def __init__(self, mean: Float[Tensor, " d"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t"]:
        """Score every cell."""
        return (tokens - self.mean).norm(dim=2)


@final
class CellAttention(nn.Module):
    """Scores a cell by a small net that was trained on labels of whole pictures. Build with `fit`.

    Args:
        mean: of all cells.
        scale: mean length of cells.
        inner: from cells to hidden units.
        outer: from these to a score.
    """

    mean: Float[Tensor, " d"]
    scale: Float[Tensor, ""]

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        scale: Float[Tensor, ""],
        inner: nn.Linear,
        outer: nn.Linear,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.inner = inner
        self.outer = outer

    @classmethod
    def fit(
        cls,
        tokens: Sequence[Float[Tensor, "n _ d"]],
        labels: Int[Tensor, " n"],
        *,
        hidden: int = 512,
        steps: int = 200,
        rate: float = 1e-2,
        generator: Generator | None = None,
    ) -> CellAttention:
        """Train as the weights of a sum of cells from which the labels are told.

        Args:
            tokens: cells of the pictures, in one or several sizes; each step draws one.
            labels: class of each picture.
            hidden: units of the small net.
            steps: of Adam.
            rate: its learning rate.
            generator: for the start and the draws.

        Raises:
            LayerwiseError: labels that do not match or are missing, or of fewer than two classes.
        """
        require_labelled(tokens[0].mean(1), labels)
        classes, index = labels.unique(return_inverse=True)
        if len(classes) < 2:
            raise LayerwiseError(f"all labels are {int(classes[0])}; give at least two classes")
        generator = generator or Generator().manual_seed(0)
        first = tokens[0]
        mean = first.mean((0, 1))
        scale = (first - mean).norm(dim=2).mean()
        inner = _linear(first.shape[2], hidden, first.dtype, generator)
        outer = _linear(hidden, 1, first.dtype, generator)
        head = _linear(first.shape[2], len(classes), first.dtype, generator)
        attention = cls(mean, scale, inner, outer)
        weights = [*attention.parameters(), *head.parameters()]
        optimiser = torch.optim.Adam(weights, lr=rate)
        with torch.enable_grad():
            for _ in range(steps):
                cells = tokens[int(torch.randint(len(tokens), (), generator=generator))]
                batch = torch.randperm(len(labels), generator=generator)[:64]
                scores = attention(cells[batch])
                summed = (scores.unsqueeze(2) * (cells[batch] - mean) / scale).mean(1)
                optimiser.zero_grad()
                nn.functional.cross_entropy(head(summed), index[batch]).backward()
                optimiser.step()
        return attention.requires_grad_(False)

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t"]:
        """Score every cell; above 0."""
        hidden = self.inner((tokens - self.mean) / self.scale).relu()
        return nn.functional.softplus(self.outer(hidden)).squeeze(2)


def _linear(inputs: int, outputs: int, dtype: torch.dtype, generator: Generator) -> nn.Linear:
    """A linear layer that starts from a generator, not from the global random state."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=dtype)
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
