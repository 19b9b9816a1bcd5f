"""The path of neurons, one in each layer, that an answer depends on most (P206).

What a set of neurons does together to the probability P of a class is measured by turning all of
them up from 0 to what they are, in steps a:

    influence = sum_l w_l . mean_a dP/dw_l (a w),   which is P with them minus P without them.

The path is found from the first layer to the last. At each layer the neurons found so far are
turned up together with the whole layer, and the neuron with the greatest share joins them. A neuron
is a channel at all places; the paper takes the class token's, and multiplies the sum of all
activations with the sum of all gradients, which for more than one layer is not what the neurons do;
here each is multiplied with its own, and the influence is checked by removal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._gradients import gradients
from layerwise.explain._target import Target
from layerwise.models import Network
from layerwise.taps import edit, read
from layerwise.taps._edit import Edit


@final
@dataclass(frozen=True)
class NeuronPath:
    """One neuron of each layer, for each sample.

    Args:
        layers: addresses of the layers.
        neurons: the path.
        influence: what it adds to the probability of the class.
        strongest: the path of the most active neurons, to compare with.
    """

    layers: tuple[str, ...]
    neurons: Int[Tensor, "n l"]
    influence: Float[Tensor, " n"]
    strongest: Int[Tensor, "n l"]


@paper(
    "Discovering Influential Neuron Path in Vision Transformers",
    year=2025,
    arxiv="2503.09046",
    no=(206,),
)
def neuron_path(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    layers: str = "blocks",
    steps: int = 20,
) -> NeuronPath:
    """Find the path of each sample.

    Args:
        network: the network, which is left as it was.
        inputs: samples of one batch.
        labels: class of each.
        layers: where the neurons are: a pattern. `kind:activation` are those of a transformer's
            MLPs, as in the paper.
        steps: in which neurons are turned up.

    Raises:
        LayerwiseError: no such layer, a label out of range, `steps` below 1, or samples that the
            network does not run on.

    Example:
        >>> import layerwise
        >>> linear = torch.nn.Linear
        >>> module = torch.nn.Sequential(linear(2, 3), torch.nn.ReLU(), linear(3, 2))
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> inputs, labels = torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
        >>> neuron_path(network, inputs, labels, layers="1").neurons.shape
        torch.Size([4, 1])
    """
    if steps < 1:
        raise LayerwiseError(f"steps={steps}; give at least 1")
    network.take_example(inputs)
    names = tuple(layer.name for layer in network.layers.select(layers))
    active = read(network, inputs, names)
    strongest = torch.stack([_channels(network, n, v).mean(1).argmax(1) for n, v in active.items()])
    path: dict[str, Tensor] = {}
    for name in names:
        shares = _shares(network, inputs, labels, path, steps, whole=name)[name]
        path[name] = shares.argmax(dim=1)
    neurons = torch.stack(list(path.values()), dim=1)
    found = _shares(network, inputs, labels, path, steps)
    parts = [found[name].gather(1, path[name][:, None]) for name in names]
    return NeuronPath(names, neurons, torch.cat(parts, dim=1).sum(dim=1), strongest.T)


def scaled(path: dict[str, Int[Tensor, " n"]], factor: float) -> dict[str, Edit]:
    """What `edit` takes to turn the neurons of a path up or down: one of each layer and sample.

    Args:
        path: number of the neuron, by layer.
        factor: 0 removes it, 2 makes it twice as strong.
    """
    return {name: _one_scaled(units, factor) for name, units in path.items()}


def _one_scaled(units: Tensor, factor: float) -> Callable[[Tensor], Tensor]:
    def change(value: Tensor) -> Tensor:
        last = value if value.ndim != 4 else value.movedim(1, -1)
        picked = torch.nn.functional.one_hot(units.to(last.device), last.shape[-1]).to(last)
        turned = last * (1 + (factor - 1) * picked.view(len(last), *[1] * (last.ndim - 2), -1))
        return turned if value.ndim != 4 else turned.movedim(-1, 1)

    return change


def _shares(
    network: Network,
    inputs: Inputs,
    labels: Tensor,
    path: dict[str, Tensor],
    steps: int,
    *,
    whole: str = "",
) -> dict[str, Float[Tensor, "n m"]]:
    """What each neuron adds while the path, and one whole layer, are turned up together."""
    names = [*path, *([whole] if whole else [])]
    target = Target(head=lambda rows: rows.softmax(dim=1))
    sums: dict[str, Tensor] = {}
    for step in range(steps):
        level = (step + 0.5) / steps
        edits = scaled(path, level)
        if whole:
            edits[whole] = _times(level)
        with edit(network, edits):
            found = gradients(network, inputs, labels, layers=names, target=target)
        for name in names:
            # What flows there is turned down already: for the neurons in question, by `level`.
            product = found.slopes[name] * found.values[name] / level
            added = _channels(network, name, product).sum(dim=1)
            sums[name] = sums.get(name, 0) + added / steps
    return sums


def _times(level: float) -> Callable[[Tensor], Tensor]:
    return lambda value: value * level


def _channels(network: Network, name: str, value: Tensor) -> Float[Tensor, "n t m"]:
    return network.layers[name].sure.tokens(value)
