"""Regional prediction difference: take a region away and see how the odds of the label change.

A picture is cut into superpixels at several scales (SLIC). The absence of a region is simulated by
draws from a normal distribution whose mean and covariance are those of the background, which is
taken to be what touches the picture's border. The difference of the evidence,
`log2 odds(p) - log2 odds(p without it)`, goes to all pixels of the region, `p` being the mean over
the draws and held off 0 and 1 by Laplace's correction. The maps of all scales, each at most 1 in
size, are averaged and smoothed along the picture's edges (He's guided filter).

The paper's abstract leaves numbers open: scales, draws, that each pixel is drawn on its own, and
the filter's width are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, require_inputs
from layerwise.explain._hide import Hide, covered
from layerwise.explain._occlusion import fall, spread
from layerwise.explain._target import Target
from layerwise.models import Network

_TRIALS = 10_000
"""Laplace's correction counts the probability as if it came from so many trials."""


@paper(
    "Regional Multi-scale Approach for Visually Pleasing Explanations of Deep Neural Networks",
    year=2018,
    arxiv="1807.11720",
    no=(264,),
)
def regional_prediction_difference(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
    scales: Sequence[int] = (16, 32, 64),
    draws: int = 3,
    hide: Hide | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n 1 H W"]:
    """Evidence that each region gives for a label, over several scales.

    Args:
        network: the network, which is left as it was; it is only run forward.
        image: pictures as the network takes them.
        labels: column of the target, for each picture; the columns are logits.
        target: what is explained; the default is what the network returns.
        scales: about how many regions a picture is cut into, each time.
        draws: times that a region is hidden anew; its probabilities are averaged.
        hide: how a region is hidden; the default draws from the background.
        generator: for the draws; the default is a fresh one.

    Returns:
        Positive where the region speaks for the label.

    Raises:
        LayerwiseError: no scales, or fewer than 1 draw; and as `occlusion`.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1),
        ...                              torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> regional_prediction_difference(network, image, torch.tensor([2]), scales=[4]).shape
        torch.Size([1, 1, 16, 16])
    """
    if not scales or min(scales) < 1 or draws < 1:
        raise LayerwiseError(f"scales={list(scales)} and draws={draws}; give at least 1 of each")
    require_inputs(image)
    generator = generator or torch.Generator().manual_seed(0)
    seed = generator.initial_seed()
    maps = []
    for picture, label in zip(image.split(1), labels.split(1), strict=True):
        cuts = [superpixels(picture[0], count) for count in scales]
        # Every picture gets the same draws, so that none feels the others.
        hidden = hide or _Background(picture, cuts[0], torch.Generator().manual_seed(seed))
        odds = _Odds(hidden, draws)
        each = [
            spread(fall(network, picture, label, cut, target=target, hide=odds)[None], cut)
            for cut in cuts
        ]
        fused = torch.stack([one / one.abs().amax().clamp(min=1e-12) for one in each]).mean(0)
        maps.append(_smoothed(fused, picture))
    return torch.cat(maps)


def superpixels(picture: Float[Tensor, "3 H W"], count: int) -> Bool[Tensor, "r H W"]:
    """Cut a picture into about so many regions of like colour.

    Args:
        picture: with values of any scale.
        count: about how many.
    """
    from skimage.segmentation import slic

    single = picture.float()  # so that every precision is cut alike
    low, high = single.amin(), single.amax()
    shown = ((single - low) / (high - low).clamp(min=1e-12)).permute(1, 2, 0).cpu().numpy()
    found = slic(shown, n_segments=count, start_label=0, channel_axis=-1)
    cut = torch.from_numpy(found).to(picture.device)
    return cut == cut.unique().view(-1, 1, 1)


class _Background:
    """Covers pixels with draws from the colours of the regions that touch the border."""

    def __init__(self, picture: Tensor, regions: Tensor, generator: torch.Generator) -> None:
        border = torch.ones_like(regions[0])
        border[1:-1, 1:-1] = False
        touching = regions[(regions & border).flatten(1).any(1)].any(0)
        colours = picture[0][:, touching]
        self.mean = colours.mean(1)
        covariance = torch.cov(colours)
        slight = 1e-6 * covariance.trace() + 1e-12  # a background of one colour has a root too
        self.root = torch.linalg.cholesky(covariance + slight * torch.eye(3).to(colours))
        self.generator = generator

    def __call__(
        self,
        network: Network,
        inputs: Inputs,
        /,
        *,
        keep: Tensor | None = None,
        target: Target | None = None,
    ) -> Float[Tensor, "n c"]:
        assert isinstance(inputs, Tensor)
        noise = torch.randn(inputs.shape, generator=self.generator).to(inputs)
        cover = torch.einsum("ij,njhw->nihw", self.root, noise) + self.mean.view(3, 1, 1)
        return covered(network, inputs, keep=keep, target=target, cover=cover)


class _Odds:
    """Log odds of every column, its probability averaged over several ways of hiding."""

    def __init__(self, hide: Hide, draws: int) -> None:
        self.hide, self.draws = hide, draws

    def __call__(
        self,
        network: Network,
        inputs: Inputs,
        /,
        *,
        keep: Tensor | None = None,
        target: Target | None = None,
    ) -> Float[Tensor, "n c"]:
        draws = 1 if keep is None else self.draws
        said = [self.hide(network, inputs, keep=keep, target=target) for _ in range(draws)]
        p = torch.stack(said).softmax(2).mean(0)
        p = (p * _TRIALS + 1) / (_TRIALS + p.shape[1])
        return torch.log2(p / (1 - p))


def _smoothed(value: Float[Tensor, "1 1 H W"], picture: Float[Tensor, "1 3 H W"]) -> Tensor:
    """The guided filter: close to a linear function of the brightness in every window."""
    radius = min(picture.shape[2:]) // 56
    if radius == 0:
        return value
    guide = picture.mean(1, keepdim=True)
    guide = (guide - guide.mean()) / guide.std().clamp(min=1e-6)
    size = 2 * radius + 1

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, size, 1, radius, count_include_pad=False)

    centre, level = mean(guide), mean(value)
    slope = (mean(guide * value) - centre * level) / (mean(guide * guide) - centre**2 + 0.1)
    return mean(slope) * guide + mean(level - slope * centre)
