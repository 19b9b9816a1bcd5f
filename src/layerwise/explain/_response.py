"""How strongly a unit of a layer answers, with gradients: the objective of all visualisation.

A unit is a channel, by number, or a direction, by a vector as wide as the layer. Its answer to a
sample is the mean over the places, prefix tokens left out, or that of one place.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import running
from layerwise.models import Layer, Network
from layerwise.models._hooks import usable
from layerwise.models._network import Inputs
from layerwise.taps._tap import Enough, tap

Unit = int | Float[Tensor, " d"]


def layer_of(network: Network, layer: str | None) -> Layer:
    """The one layer that is meant; without a name, the network's output.

    Raises:
        LayerwiseError: there is no such layer, or the pattern picks several.
    """
    if layer is None:
        return network.layers[-1]
    chosen = network.layers.select(layer)
    if len(chosen) > 1:
        raise LayerwiseError(
            f"{layer!r} picks {len(chosen)} layers, from {chosen[0].name} to {chosen[-1].name}; "
            "give one address"
        )
    return chosen[0]


def places(network: Network, inputs: Inputs, layer: Layer) -> Float[Tensor, "n p d"]:
    """What flows out of a layer, place by place, prefix tokens left out; the forward ends there.

    Raises:
        LayerwiseError: the network does not run on these inputs.
    """
    found: list[Tensor] = []
    with (
        running(network, inputs),
        tap(network, layer.name, lambda _, value: found.append(value), stop=True) as seen,
    ):
        try:
            network(usable(inputs))
        except Enough:
            pass
        else:
            seen.require_all()
    layout = layer.sure
    return layout.tokens(layout.standard(found[0]))[:, layout.prefix :]


def answers(network: Network, inputs: Inputs, layer: Layer, unit: Unit) -> Float[Tensor, "n p"]:
    """The answer of a unit to each place of each sample.

    Raises:
        LayerwiseError: the layer has no such unit, or the network does not run on these inputs.
    """
    values = places(network, inputs, layer)
    if isinstance(unit, int):
        if not 0 <= unit < values.shape[2]:
            raise LayerwiseError(
                f"layer {layer.name!r} has units 0 to {values.shape[2] - 1}, and no unit {unit}"
            )
        return values[:, :, unit]
    if unit.shape != values.shape[2:]:
        raise LayerwiseError(
            f"a direction of shape {list(unit.shape)} for layer {layer.name!r}, which has "
            f"{values.shape[2]} channels; give one number for each"
        )
    return values @ unit.to(values)


def respond(
    network: Network, inputs: Inputs, layer: Layer, unit: Unit, place: int | None = None
) -> Float[Tensor, " n"]:
    """The answer of a unit to each sample.

    Raises:
        LayerwiseError: the layer has no such unit or no such place, or the network does not run on
            these inputs.
    """
    found = answers(network, inputs, layer, unit)
    if place is None:
        return found.mean(1)
    if not 0 <= place < found.shape[1]:
        raise LayerwiseError(
            f"layer {layer.name!r} has places 0 to {found.shape[1] - 1}, and no place {place}"
        )
    return found[:, place]


def identity(network: Network, layer: Layer, unit: Unit, options: str) -> str:
    """Words that tell one visualisation from another, for the file that it is kept in."""
    which = unit if isinstance(unit, int) else f"direction {unit.double().sum():.17g}"
    return f"{network.weights_hash[:16]} {layer.name} unit {which}, {options}"
