"""Which way to explain, and at which layer? Each is tried on the user's own samples and judged.

An explanation is good when it says what the network looks at, so ways and layers are ranked by how
far they beat chance in deletion and insertion. Beside that stands what is left of them when the
network's weights are scrambled: one that stays the same did not explain what was learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, require_inputs
from layerwise.explain._faithfulness import (
    Faithfulness,
    Scale,
    faithfulness,
    probabilities,
)
from layerwise.explain._hide import Hide, covered
from layerwise.explain._randomisation import rank_correlation, scrambled
from layerwise.explain._target import Target
from layerwise.explain._ways import Way
from layerwise.models import Network

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`."""


@final
@dataclass(frozen=True)
class Judged:
    """Explanations of some samples by one way at one layer, and how far to believe them.

    Args:
        way: name of the way.
        layer: address, or `input`.
        heat: one number a place, `[n 1 h w]` or `[n t 1]`.
        faithfulness: against chance, for each sample.
        left: rank correlation with what the way says of the network with scrambled weights.
        seconds: that the way took, all layers asked for together.
    """

    way: str
    layer: str
    heat: Tensor
    faithfulness: Faithfulness
    left: Float[Tensor, " n"]
    seconds: float

    @property
    def score(self) -> float:
        """By how much it beats chance, the mean over the samples."""
        return float(self.faithfulness.score.mean())

    @property
    def error(self) -> float:
        """Standard error of the score; NaN for one sample."""
        scores = self.faithfulness.score
        return float(scores.std() / len(scores) ** 0.5) if len(scores) > 1 else float("nan")


def compare(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    candidates: Sequence[Way],
    *,
    layers: str = "blocks",
    target: Target | None = None,
    hide: Hide = covered,
    scale: Scale = probabilities,
    steps: int = 10,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Judged, ...]:
    """Explain samples in several ways and judge each, the most faithful first.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        labels: column of the target, for each sample.
        candidates: the ways, as `ways` lists them.
        layers: addresses or patterns, for those that explain layers.
        target: what is explained; the default is what the network returns.
        hide: how places are hidden for the judgement.
        scale: makes comparable numbers of the target's columns.
        steps: parts in which the places go and come.
        draws: other places to compare with.
        seed: for those, and for the scrambled weights.
        progress: called after every map that was judged.

    Raises:
        LayerwiseError: no ways; and as the ways themselves.

    Example:
        >>> import layerwise
        >>> from layerwise.explain import way
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 9, 9))
        >>> judged = compare(network, torch.rand(2, 3, 9, 9), torch.tensor([0, 1]),
        ...                  [way("grad-cam"), way("occlusion")], layers="1")
        >>> sorted(each.layer for each in judged)
        ['1', 'input']
    """
    if not candidates:
        raise LayerwiseError("no way to explain was given; see layerwise.explain.ways()")
    require_inputs(inputs)
    target = target or Target()
    network.take_example(inputs)
    other = scrambled(network, seed=seed)
    chosen = len(network.layers.select(layers))
    total = sum(chosen if each.layered else 1 for each in candidates)
    judged: list[Judged] = []
    for each in candidates:
        start = time.perf_counter()
        maps = each.explain(network, inputs, labels, layers, target)
        seconds = time.perf_counter() - start
        blind = each.explain(other, inputs, labels, layers, target)
        for layer, heat in maps.items():
            found = faithfulness(
                network, inputs, labels, heat, target=target, steps=steps, draws=draws,
                hide=hide, scale=scale, generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
            left = rank_correlation(heat, blind[layer])
            judged.append(Judged(each.name, layer, heat, found, left, seconds))
            if progress is not None:
                progress("judging explanations", len(judged), total)
    return tuple(sorted(judged, key=lambda one: -one.score))
