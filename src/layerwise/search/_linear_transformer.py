"""Two sets of places that look at themselves and at each other, at linear cost (LoFTR, P222).

Linear attention takes `phi(q) (sum phi(k) v) / (phi(q) sum phi(k))` with `phi = elu + 1` in place
of the softmax. Each layer normalises what it was told, joins it to the place, passes both through
two linear maps and adds the normalised result. Layers alternate between own and other places.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

Places = Float[Tensor, "n t d"]


def linear_attention(
    q: Float[Tensor, "n t a e"], k: Float[Tensor, "n s a e"], v: Float[Tensor, "n s a e"]
) -> Float[Tensor, "n t a e"]:
    """Attend with the kernel `elu + 1`; cost grows with `t + s`, not with their product."""
    q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
    told = torch.einsum("nsae,nsaf->naef", k, v)
    total = torch.einsum("ntae,nae->nta", q, k.sum(1)) + 1e-6
    return torch.einsum("ntae,naef->ntaf", q, told) / total.unsqueeze(3)


@final
class LinearLayer(nn.Module):
    """Lets places take from a source.

    Args:
        dim: width of places.
        heads: of the attention.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.merge = (
            nn.utils.skip_init(nn.Linear, dim, dim, bias=False) for _ in range(4)
        )
        self.inner = nn.utils.skip_init(nn.Linear, 2 * dim, 2 * dim, bias=False)
        self.outer = nn.utils.skip_init(nn.Linear, 2 * dim, dim, bias=False)
        self.told_norm = nn.LayerNorm(dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, places: Places, source: Places) -> Places:
        """Add what the source says."""
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1))
            for project, x in ((self.q, places), (self.k, source), (self.v, source))
        )
        told = self.told_norm(self.merge(linear_attention(q, k, v).flatten(2)))
        return places + self.norm(self.outer(self.inner(torch.cat([places, told], 2)).relu()))


@final
class LinearTransformer(nn.Module):
    """Pairs of layers, the first over own places, the second over the other's.

    Args:
        dim: width of places.
        pairs: of layers.
        heads: of the attention.
    """

    def __init__(self, dim: int, *, pairs: int, heads: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LinearLayer(dim, heads) for _ in range(2 * pairs))

    def start(self, generator: Generator) -> LinearTransformer:
        """Draw weights; the last norm of each layer starts at zero, so that places start as given.

        That start is ours: training begins where the given features already match.
        """
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.xavier_uniform_(weight, generator=generator)
            elif name.endswith(".norm.weight"):
                nn.init.zeros_(weight)
        return self

    def forward(self, one: Places, other: Places) -> tuple[Places, Places]:
        """Pass both through; in crossing layers the other looks at what the one has become."""
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                one, other = layer(one, one), layer(other, other)
            else:
                one = layer(one, other)
                other = layer(other, one)
        return one, other


def sine_positions(dim: int, height: int, width: int, like: Tensor) -> Float[Tensor, "t d"]:
    """Sines and cosines of column and row at falling frequencies, four channels for each."""
    rates = torch.exp(
        torch.arange(0, dim // 2, 2).to(like) * (-torch.tensor(1e4).log() / (dim // 2))
    )
    down, right = torch.meshgrid(
        torch.arange(1, height + 1).to(like), torch.arange(1, width + 1).to(like), indexing="ij"
    )
    waves = [f(x.unsqueeze(2) * rates) for x in (right, down) for f in (torch.sin, torch.cos)]
    return torch.stack(waves, 3).flatten(2).flatten(0, 1)
