"""Templates of one place each, and how well a filter's maps keep to them (P227).

A template is 1 at its place and falls off around it to -1; the last one is -1 everywhere, for a
filter whose part is not there. Over the pictures X of a batch and the templates T,

    MI = sum_T p(T) sum_X p(X|T) log(p(X|T) / p(X)),    p(X|T) = softmax over X of <X, T>

is large where every map fits one template and different pictures fit different ones. Its slope at
<X, T> is p(T) p(X|T) (g - sum_X p(X|T) g) with g = log(p(X|T) / p(X)).

Ours: a filter's maps are divided by their mean over the batch before they are held against the
templates. The paper's fixed height suits the large answers of its networks; with answers around 1
all its pictures would fit alike, and a filter could gain by growing instead of by keeping to one
place.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_FALL = 4.0
"""How fast a template falls off, over its longer side: the paper's beta."""

_SHARP = 4.0
"""Height of the templates, times the number of places."""


def templates(height: int, width: int) -> Float[Tensor, "t s"]:
    """One around each of the `s` places, row by row, and the one for nowhere.

    Example:
        >>> templates(2, 2)[0].view(2, 2)
        tensor([[ 1., -1.],
                [-1., -1.]])
    """
    places = torch.cartesian_prod(torch.arange(float(height)), torch.arange(float(width)))
    far = (places[:, None] - places).abs().sum(dim=2)
    around = (1 - _FALL * far / max(height, width)).clamp(min=-1)
    return torch.cat([around, -torch.ones(1, height * width)])


def fits(maps: Float[Tensor, "n p s"], templates: Float[Tensor, "t s"]) -> Float[Tensor, "n p t"]:
    """How well each filter's map fits each template: their product, after the batch's mean is 1.

    Args:
        maps: rectified answers of the filters at all places.
        templates: as `templates` makes them.
    """
    mean = maps.mean(dim=(0, 2), keepdim=True)
    even = maps / mean.clamp(min=torch.finfo(maps.dtype).tiny ** 0.5)
    return _SHARP / maps.shape[2] * even @ templates.T.to(maps)


def information(fits: Float[Tensor, "n p t"]) -> Float[Tensor, " p"]:
    """Mutual information of pictures and templates for each filter, at least 0, in nats.

    All templates are equally likely.

    Example:
        >>> information(100 * torch.eye(4)[:, None]) - torch.tensor(4.0).log()
        tensor([0.])
    """
    prior = 1 / fits.shape[2]
    given = fits.log_softmax(dim=0)
    whole = given.logsumexp(dim=2, keepdim=True) + math.log(prior)
    return (prior * given.exp() * (given - whole)).sum(dim=(0, 2))
