"""Pages of documents as one vector: the whole page and its regions, each compressed (P211).

A page is seen whole and in four regions: header (top third), left and right body (middle third,
halves that overlap by a tenth), and footer (bottom third). Each is brought to the network's size
and read by the same network. The streams are compressed by principal components, brought to
length 1 and put side by side. The paper finds that the whole page is enough, and that few
components lose little.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._rotate import rotate

REGIONS = ("whole", "header", "left body", "right body", "footer")
"""What `page_regions` cuts out, in this order."""


def page_regions(image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 5 c h w"]:
    """Cut pages into the whole, header, left and right body and footer, each at the page's size.

    Args:
        image: pages, at the size that the network takes.

    Raises:
        LayerwiseError: pages of fewer than 3 pixels a side.

    Example:
        >>> image = torch.rand(2, 3, 30, 30)
        >>> bool(torch.allclose(page_regions(image)[:, 0], image))
        True
    """
    height, width = image.shape[2:]
    if min(height, width) < 3:
        raise LayerwiseError(f"pages of {height} x {width} pixels; give 3 or more a side")
    thirds = (0, height // 3, height - height // 3, height)
    left, right = round(0.55 * width), round(0.45 * width)
    parts = [
        image[:, :, thirds[0] : thirds[1]],
        image[:, :, thirds[1] : thirds[2], :left],
        image[:, :, thirds[1] : thirds[2], right:],
        image[:, :, thirds[2] : thirds[3]],
    ]
    if len(image) == 0:
        return image.new_empty(0, 5, *image.shape[1:])
    grown = [
        nn.functional.interpolate(part, (height, width), mode="bilinear", antialias=True)
        for part in parts
    ]
    return torch.stack([image, *grown], 1)


@final
@paper(
    "Evaluation of Deep Convolutional Nets for Document Image Classification and Retrieval",
    year=2015,
    arxiv="1502.07058",
    no=(211,),
)
class DocumentEncoder(nn.Module):
    """Describes pages by compressed streams. Build it with `fit`.

    Args:
        mean: of each stream.
        axes: principal components of each stream; columns of zeros where there are fewer.

    Example:
        >>> streams = torch.randn(20, 5, 8, generator=torch.Generator().manual_seed(0))
        >>> DocumentEncoder.fit(streams, dims=3)(streams).shape
        torch.Size([20, 15])
    """

    mean: Float[Tensor, "s d"]
    axes: Float[Tensor, "s d k"]

    def __init__(self, mean: Float[Tensor, "s d"], axes: Float[Tensor, "s d k"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)

    @classmethod
    def fit(cls, tokens: Float[Tensor, "n s d"], *, dims: int = 128) -> DocumentEncoder:
        """Find the principal components of each stream.

        Args:
            tokens: pages by their streams: one, or those of `page_regions`.
            dims: components of each stream, as far as there are so many numbers.

        Raises:
            LayerwiseError: no pages, features that are not finite, or `dims` below 1.
        """
        if len(tokens) == 0 or tokens.shape[1] == 0 or dims < 1:
            raise LayerwiseError(
                f"{len(tokens)} pages, {tokens.shape[1]} streams, dims={dims}; give 1 or more"
            )
        require_finite(tokens)
        keep = min(dims, tokens.shape[2])
        mean = tokens.mean(0)
        axes = []
        for stream in (tokens - mean).double().unbind(1):
            _, found, spectrum = rotate(stream)
            order = spectrum.argsort(descending=True)[:keep]
            found = nn.functional.normalize(found[:, order], dim=0)
            # Which way an axis points is free; the same pages need the same vectors.
            found = found * found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
            axes.append(nn.functional.pad(found, (0, keep - found.shape[1])))
        return cls(mean, torch.stack(axes).to(tokens.dtype))

    def forward(self, tokens: Float[Tensor, "n s d"]) -> Float[Tensor, "n e"]:
        """Describe pages.

        Args:
            tokens: pages by the same streams.

        Raises:
            LayerwiseError: features that are not finite, or other streams.
        """
        require_finite(tokens)
        if tokens.shape[1:] != self.mean.shape:
            raise LayerwiseError(
                f"streams {list(tokens.shape[1:])}, but {list(self.mean.shape)} were fitted; read "
                "the same"
            )
        scores = torch.einsum("nsd,sdk->nsk", tokens - self.mean, self.axes)
        return nn.functional.normalize(scores, dim=2).flatten(1)
