"""Mean of the first and the last layer, whitened: sentence embeddings without training (P070).

The paper's recipe in three steps: tokens are averaged over the real ones (`layerwise.features.Mean`
with the mask), the first and the last transformer layer are averaged, and the result is whitened by
a reference set. Any two layers of one width will do: with a network tuned for sentences, the layers
below its end gain most.
"""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.fuse._layers import Layers, pick, require_layers


@final
class FirstLast(nn.Module):
    """Averages the first and the last of some layers and whitens the mean. Build it with `fit`.

    Args:
        layers: addresses of the two layers.
        whiten: fitted on the mean of the reference set.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> layers = dict(zip("abc", torch.randn(3, 90, 4, generator=generator), strict=True))
        >>> embed = FirstLast.fit(layers)
        >>> embed.layers
        ('a', 'c')
        >>> bool(torch.allclose(embed(layers).T.cov(correction=0), torch.eye(4), atol=1e-4))
        True
    """

    def __init__(self, layers: tuple[str, str], whiten: Whiten) -> None:
        super().__init__()
        self.layers = layers
        self.whiten = whiten

    @classmethod
    def fit(
        cls,
        layers: Layers,
        *,
        keep: int | None = None,
        floor: float = 1e-8,
        shrink: float = 0.0,
    ) -> FirstLast:
        """Measure a reference set.

        Args:
            layers: what each layer holds, in the order of execution, all equally wide.
            keep: how many leading directions to keep; all of them without it.
            floor: least eigenvalue, as a part of the largest.
            shrink: how far the eigenvalues are pulled towards their mean, 0 to 1.

        Raises:
            LayerwiseError: no layers, widths that differ, or rows that cannot be whitened by.
        """
        require_layers(layers)
        names = list(layers)
        ends = names[0], names[-1]
        whiten = Whiten.fit(_mean(layers, ends), keep=keep, floor=floor, shrink=shrink)
        return cls(ends, whiten)

    def forward(self, layers: Layers) -> Float[Tensor, "n k"]:
        """Embed.

        Args:
            layers: what the two layers hold, and any others.

        Raises:
            LayerwiseError: a layer is missing, or their widths differ.
        """
        return self.whiten(_mean(layers, self.layers))


def _mean(layers: Layers, ends: tuple[str, str]) -> Float[Tensor, "n d"]:
    first, last = pick(layers, ends[:1]) + pick(layers, ends[1:])
    if first.shape != last.shape:
        raise LayerwiseError(
            f"layers {ends[0]!r} and {ends[1]!r} hold {list(first.shape)} and {list(last.shape)}; "
            "their mean needs equal rows and widths"
        )
    return (first + last) / 2
