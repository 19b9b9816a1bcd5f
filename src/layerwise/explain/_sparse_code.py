"""Rows written as sums of few directions out of many, and how to learn them cheaply.

Where a row uses k of l directions, the rest of them has no part in the gradient. Sums over the used
ones, forwards and, sorted by direction, backwards, take `n k d` steps instead of `n l d`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

_AUXILIARY = 1 / 32  # weight of the loss by which dead latents come back


@final
@dataclass(frozen=True)
class SparseCode:
    """What is learnt of centred rows.

    Args:
        encoder: what each latent looks for.
        bias: of each latent.
        decoder: what each latent stands for.
    """

    encoder: Float[Tensor, "l d"]
    bias: Float[Tensor, " l"]
    decoder: Float[Tensor, "l d"]

    @classmethod
    def drawn(
        cls, latents: int, rows: Float[Tensor, "n d"], generator: torch.Generator
    ) -> SparseCode:
        """Random directions of length 1, encoder and decoder alike."""
        noise = torch.randn(latents, rows.shape[1], generator=generator, dtype=torch.float64)
        decoder = normalize(noise, dim=1).to(rows)
        return cls(decoder.clone(), rows.new_zeros(latents), decoder)

    def top(self, rows: Float[Tensor, "n d"], active: int) -> tuple[Tensor, Tensor]:
        """The largest latents of each row, and which they are."""
        latents = torch.addmm(self.bias, rows, self.encoder.T)
        values, used = latents.topk(active, dim=1, sorted=False)
        return values, used

    def sum(self, used: Int[Tensor, "n k"], values: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """The used directions of each row, added up."""
        return embedding_bag(used, self.decoder, per_sample_weights=values, mode="sum")

    def gradients(
        self, rows: Float[Tensor, "n d"], active: int, dead: Bool[Tensor, " l"]
    ) -> tuple[Tensor, Tensor, Tensor, Int[Tensor, "n k"]]:
        """Of the mean squared error by encoder, bias and decoder, and which latents were used.

        Args:
            rows: a batch.
            active: latents that a row uses.
            dead: those that are to explain what the others leave out.
        """
        latents = torch.addmm(self.bias, rows, self.encoder.T)
        values, used = latents.topk(active, dim=1, sorted=False)
        left = self.sum(used, values) - rows
        slope = 2 / rows.numel() * left
        encoder, bias, decoder = self._by_used(rows, used, values, slope)
        if bool(dead.any()):
            numbers = dead.nonzero().flatten()
            count = min(len(numbers), max(1, rows.shape[1] // 2))
            values, places = latents[:, numbers].topk(count, dim=1, sorted=False)
            spare = numbers[places]
            slope = 2 / rows.numel() * _AUXILIARY * (left + self.sum(spare, values))
            more = self._by_used(rows, spare, values, slope)
            encoder, bias, decoder = encoder + more[0], bias + more[1], decoder + more[2]
        return encoder, bias, decoder, used

    def _by_used(
        self, rows: Tensor, used: Tensor, values: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of a loss whose slope by the sums is given."""
        with torch.enable_grad():
            watched = values.detach().requires_grad_()
            output = self.sum(used, watched)
        (steep,) = torch.autograd.grad(output, watched, slope)
        flat = used.flatten()
        bias = torch.zeros_like(self.bias).index_add_(0, flat, steep.flatten())
        order = flat.argsort()
        starts = torch.searchsorted(flat[order], torch.arange(len(bias), device=flat.device))
        owners = order // used.shape[1]

        def back(scales: Tensor, of: Tensor) -> Tensor:
            """For each latent the sum of the rows that use it, by how much they do."""
            by = scales.flatten()[order]
            return embedding_bag(owners, of, starts, per_sample_weights=by, mode="sum")

        return back(steep, rows), bias, back(values, slope)
