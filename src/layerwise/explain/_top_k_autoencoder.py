"""A k-sparse autoencoder: a layer as many more directions, of which each row uses only k (P191).

    z = top_k(E (x - c) + b),   x' = D z + c,   loss |x - x'|^2 / |x - c|^2

with rows of D of length 1 and only the k largest entries of z kept. Directions that few rows use
become readable, and each is read off its strongest samples (`exemplars`). Latents that have not
been used for an epoch learn to explain what the others leave out (the auxiliary loss of Gao et al.
2024), so that few stay dead; how many do is `dead`.

Ours: c is the mean of the rows and stays it, and rows are scaled to unit variance. Of the gradient
only the k used directions of each row are computed (`SparseCode`): a step costs one full product,
the encoder's, where the usual code takes six.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._sparse_code import SparseCode
from layerwise.features._finite import require_finite

_CHUNK = 4096  # rows encoded at once
_WARM_UP = 0.05  # share of the steps in which the rate rises


@final
@paper(
    "Revelio: Interpreting and leveraging semantic information in diffusion models",
    year=2025,
    arxiv="2411.16725",
    no=(191,),
)
class TopKAutoencoder(nn.Module):
    """Writes rows as sums of few of many directions. Build it with `fit`.

    Attributes:
        encoder: what each latent looks for.
        bias: of each latent.
        decoder: what each latent stands for, of length 1.
        centre: mean of the rows it was fitted to.
        spread: their deviation, over all channels.
        frequency: share of them that use each latent.
        active: latents that a row uses.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.eye(8).repeat(50, 1) + 0.01 * torch.randn(400, 8, generator=generator)
        >>> sparse = TopKAutoencoder.fit(features, latents=16, active=1, epochs=20, batch=40)
        >>> (sparse.encode(features) != 0).sum(1).unique().tolist()
        [1]
    """

    encoder: Float[Tensor, "l d"]
    bias: Float[Tensor, " l"]
    decoder: Float[Tensor, "l d"]
    centre: Float[Tensor, " d"]
    spread: Float[Tensor, ""]
    frequency: Float[Tensor, " l"]

    def __init__(
        self,
        code: SparseCode,
        *,
        centre: Float[Tensor, " d"],
        spread: Float[Tensor, ""],
        frequency: Float[Tensor, " l"],
        active: int,
    ) -> None:
        super().__init__()
        self.register_buffer("encoder", code.encoder)
        self.register_buffer("bias", code.bias)
        self.register_buffer("decoder", code.decoder)
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        self.register_buffer("frequency", frequency)
        self.active = active

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        latents: int | None = None,
        active: int = 32,
        epochs: int = 10,
        batch: int = 512,
        rate: float = 2e-3,
        generator: torch.Generator | None = None,
    ) -> TopKAutoencoder:
        """Train it.

        Args:
            features: one row per sample or place; at least some thousands say something.
            latents: how many directions; 8 for each channel by default, 4 to 64 in the paper.
            active: latents that a row uses, as far as there are so many.
            epochs: passes over the rows.
            batch: rows in a step, 4,096 in the paper, which has millions of them.
            rate: Adam's learning rate, after a short rise.
            generator: draws the first directions and the order of the rows; seeded with 0 by
                default.

        Raises:
            LayerwiseError: fewer than 2 rows, rows that are all equal or not finite, or an option
                below 1.
        """
        require_finite(features)
        latents = 8 * features.shape[1] if latents is None else latents
        if min(latents, active, epochs, batch) < 1 or len(features) < 2:
            raise LayerwiseError(
                f"{len(features)} rows, {latents} latents, {active} active, {epochs} epochs, "
                f"batches of {batch}; give at least 2 rows and 1 of everything else"
            )
        centre = features.mean(dim=0)
        spread = (features - centre).square().mean().sqrt()
        if spread == 0:
            raise LayerwiseError(f"all {len(features)} rows are equal; there is nothing to encode")
        generator = generator or torch.Generator().manual_seed(0)
        rows = (features - centre) / spread
        active = min(active, latents)
        code = SparseCode.drawn(latents, rows, generator)
        _train(
            code, rows, active=active, epochs=epochs, batch=batch, rate=rate, generator=generator
        )
        uses = torch.zeros_like(code.bias)
        for chunk in rows.split(_CHUNK):
            _, used = code.top(chunk, active)
            uses += used.flatten().bincount(minlength=latents)
        return cls(code, centre=centre, spread=spread, frequency=uses / len(rows), active=active)

    @property
    def dead(self) -> int:
        """How many latents no row uses."""
        return int((self.frequency == 0).sum())

    def encode(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m l"]:
        """How much of each latent is in each row; all but `active` of them are zero.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        values, used = self._code.top((features - self.centre) / self.spread, self.active)
        return features.new_zeros(len(features), len(self.bias)).scatter(1, used, values)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """The rows as their latents tell them.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        values, used = self._code.top((features - self.centre) / self.spread, self.active)
        return self._code.sum(used, values) * self.spread + self.centre

    def explained(self, features: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        """Share of the variance of some rows that their latents tell."""
        left = (features - self(features)).square().sum()
        return 1 - left / (features - features.mean(dim=0)).square().sum()

    @property
    def _code(self) -> SparseCode:
        return SparseCode(self.encoder, self.bias, self.decoder)


def _train(
    code: SparseCode,
    rows: Float[Tensor, "n d"],
    *,
    active: int,
    epochs: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    learnt = (code.encoder, code.bias, code.decoder)
    optimiser = torch.optim.Adam(learnt, lr=rate)
    unused = torch.zeros(len(code.bias), dtype=torch.long, device=rows.device)
    steps, step = epochs * -(-len(rows) // batch), 0
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        for some in order.split(batch):
            optimiser.param_groups[0]["lr"] = rate * _pace(step / steps)
            encoder, bias, decoder, used = code.gradients(rows[some], active, unused > len(rows))
            unused += len(some)
            unused[used.flatten()] = 0
            # The directions keep their length.
            decoder -= (decoder * code.decoder).sum(dim=1, keepdim=True) * code.decoder
            code.encoder.grad, code.bias.grad, code.decoder.grad = encoder, bias, decoder
            optimiser.step()
            code.decoder.copy_(normalize(code.decoder, dim=1))
            step += 1
    for weight in learnt:
        weight.grad = None


def _pace(done: float) -> float:
    """The rate rises, stays, and falls to nothing over the last fifth."""
    return min(1.0, (done + 1e-3) / _WARM_UP, 5 * (1 - done))
