"""Shortcut bias of layers: does what is read off a layer lean on the cue that is easy to see?

Pictures show two cues to one answer: the colour of the ground, which is easy to see, and the size
of a disc, which predicts more (`Shortcut`, P131). A linear readout is fitted to each layer on
pictures in which both mostly agree, and is then asked about all combinations of the two. The bias
is 0 where it weighs them as the best classifier does, and above 0 where it follows the ground. The
paper trains networks on such cues, for which `Shortcut` and `amplified` serve as well; reading
frozen layers with their means over all places is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Mean
from layerwise.measures._pictures import as_input, picture_size
from layerwise.measures._shortcut import Shortcut, pictured
from layerwise.models import Network
from layerwise.search import Logistic
from layerwise.taps import pool

_BATCH = 64


@final
@dataclass(frozen=True)
class ShortcutBias:
    """How each layer's readout weighs the two cues, for each draw of the pictures.

    `bootstrap_mean(found.bias.T)` gives the mean with its interval, for 2 draws or more.

    Args:
        layers: what was read.
        bias: over-reliance on the shortcut: 0 for none.
        reliance: on the shortcut and on the core cue.
        accuracy: on the pictures that the readout was fitted to.
    """

    layers: tuple[str, ...]
    bias: Float[Tensor, "l s"]
    reliance: Float[Tensor, "l s 2"]
    accuracy: Float[Tensor, "l s"]


@paper(
    "On the Foundations of Shortcut Learning",
    year=2023,
    arxiv="2310.16228",
    no=(131,),
)
def shortcut_bias(
    network: Network,
    *,
    layers: str | Iterable[str] = "stages",
    shortcut: Shortcut = Shortcut(),  # noqa: B008 - it is frozen
    contrast: float = 1.0,
    samples: int = 300,
    side: int = 12,
    draws: int = 3,
    penalty: float = 1.0,
    generator: torch.Generator | None = None,
) -> ShortcutBias:
    """Measure how far readouts of a network's layers lean on the colour of the ground.

    Args:
        network: of pictures.
        layers: addresses or patterns.
        shortcut: how well each cue predicts.
        contrast: of the ground; the more, the more available the shortcut.
        samples: pictures to fit to.
        side: values of each cue in the grid that is asked about.
        draws: how often pictures are drawn.
        penalty: of the logistic regression.
        generator: for the pictures; without it, one of seed 0.

    Raises:
        LayerwiseError: a network of something else than pictures, or no draws.

    Example:
        >>> import layerwise
        >>> convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
        >>> network = layerwise.open(convolution, example=torch.zeros(1, 3, 16, 16))
        >>> shortcut_bias(network, layers=".", samples=50, draws=1).bias.shape
        torch.Size([1, 1])
    """
    if draws < 1:
        raise LayerwiseError(f"draws={draws}; give at least 1")
    generator = generator or torch.Generator().manual_seed(0)
    size, grid = picture_size(network), shortcut.grid(side)
    bias, reliance, accuracy = [], [], []
    for _ in range(draws):
        latents, answers = shortcut.draw(samples, generator)
        shown = torch.cat([latents, grid])
        images = pictured(shown, size, contrast=contrast, generator=generator)
        read = _pooled(network, images, layers)
        for values in read.values():
            readout = Logistic.fit(values[:samples], answers, penalties=(penalty,))
            said = readout.predict(values)[0]
            decisions = said[samples:] == 1
            bias.append(shortcut.bias(decisions, grid))
            reliance.append(shortcut.reliance(decisions, grid))
            accuracy.append((said[:samples] == answers).double().mean())
    like = next(iter(read.values()))
    per_layer = (
        torch.stack(each).unflatten(0, (draws, len(read))).transpose(0, 1).to(like)
        for each in (bias, reliance, accuracy)
    )
    return ShortcutBias(tuple(read), *per_layer)


def _pooled(
    network: Network, images: Float[Tensor, "n 3 h w"], layers: str | Iterable[str]
) -> dict[str, Float[Tensor, "n d"]]:
    names = [layer.name for layer in network.layers.select(layers)]
    parts = [
        pool(network, as_input(network, part), names, [Mean()]) for part in images.split(_BATCH)
    ]
    return {name: torch.cat([part[name, "mean"] for part in parts]).cpu() for name in names}
