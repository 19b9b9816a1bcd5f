"""The taxonomy of feature visualisation: three families behind one call, and what each costs.

Input modification changes the picture and watches a unit (occlusion); deconvolution runs the net
backwards from it (guided backpropagation); input reconstruction makes a picture that the unit
answers to (activation maximisation). The first needs the picture but nothing from inside the
network, the second both, the third no picture. Passes are counted as they happen, in samples.

The picture climbs plainly, with a little jitter and total variation, as pictures did at the time.
One method stands for each family here; `ways` lists the others of the first two, and
other pictures that units answer to are made by `maco` and by `pixel_ascent` with other settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.explain._deconvnet import guided_backpropagation
from layerwise.explain._differentiable import require_inputs
from layerwise.explain._occlusion import occlusion
from layerwise.explain._pixel_ascent import pixel_ascent
from layerwise.explain._target import Target, chosen
from layerwise.models import Network


@final
@dataclass(frozen=True)
class Family:
    """What one family shows of some units.

    Args:
        family: its name in the taxonomy.
        method: that stands for it.
        shown: a map `[n 1 H W]`, or for input reconstruction a picture from 0 to 1 `[n 3 H W]`.
        forwards: samples that the network ran on.
        backwards: of these, how many it was run backwards for.
        needs_input: whether it explains given pictures.
        needs_internals: whether it needs gradients, and not outputs only.
    """

    family: str
    method: str
    shown: Float[Tensor, "n _ H W"]
    forwards: int
    backwards: int
    needs_input: bool
    needs_internals: bool


@paper(
    "A Taxonomy and Library for Visualizing Learned Features in Convolutional Neural Networks",
    year=2016,
    arxiv="1606.07757",
    no=(215,),
)
def feature_visualiser(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    labels: Int[Tensor, " n"],
    *,
    layer: str = ".",
    steps: int = 40,
    seed: int = 0,
) -> tuple[Family, Family, Family]:
    """Show units in all three ways.

    Args:
        network: the network, which is left as it was.
        image: pictures as the network takes them.
        labels: unit or class of each picture.
        layer: address of the layer that holds the units; the default is what the network returns.
        steps: of the activation maximisation.
        seed: for its start.

    Raises:
        LayerwiseError: as the methods themselves.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 9, 9))
        >>> given = torch.rand(2, 3, 9, 9), torch.tensor([0, 3])
        >>> [each.backwards > 0 for each in feature_visualiser(network, *given, steps=2)]
        [False, True, True]
    """
    require_inputs(image)
    network.take_example(image)
    target = Target(layer)
    chosen(target.read(network, image), labels)  # refuses labels out of range before all work
    with _counted(network) as modified:
        falls = occlusion(network, image, labels, target=target)
    with _counted(network) as back:
        guided = guided_backpropagation(network, image, labels, target=target)
    with _counted(network) as made:
        pictures = {
            unit: pixel_ascent(
                network,
                layer=target.found(network).name,
                unit=unit,
                steps=steps,
                views=1,
                side=image.shape[2] if image.shape[2] == image.shape[3] else None,
                shift=max(1, image.shape[2] // 16),
                rate=0.05,
                noise=0.0,
                colour=0.0,
                generator=torch.Generator().manual_seed(seed),
            ).picture
            for unit in sorted(set(labels.tolist()))
        }
    strength = guided.abs().amax(1, keepdim=True)
    shown = torch.stack([pictures[int(unit)] for unit in labels])
    return (
        _family("input modification", "occlusion", falls, modified),
        _family("deconvolution", "guided backpropagation", strength, back),
        _family("input reconstruction", "activation maximisation", shown, made, needs_input=False),
    )


def _family(
    family: str, method: str, shown: Tensor, counts: list[int], *, needs_input: bool = True
) -> Family:
    forwards, backwards = counts
    return Family(family, method, shown, forwards, backwards, needs_input, backwards > 0)


@contextmanager
def _counted(network: Network) -> Iterator[list[int]]:
    """Count the samples that run forwards, and those among them that can be run backwards."""
    counts = [0, 0]

    def count(_: torch.nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        rows = len(next(value for value in (*args, *given.values()) if isinstance(value, Tensor)))
        counts[0] += rows
        counts[1] += rows * torch.is_grad_enabled()

    hook = network.module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        hook.remove()
