"""Showing a network only a part of what it is given.

Deletion, insertion, occlusion and prediction difference all ask what a network says of a part. How
the rest is hidden is theirs to choose: any callable of this shape will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._blank import blank
from layerwise.explain._differentiable import Inputs, require_inputs
from layerwise.explain._target import Target
from layerwise.models import Network


@runtime_checkable
class Hide(Protocol):
    """Reads a target off a network that sees a part of its inputs."""

    def __call__(
        self,
        network: Network,
        inputs: Inputs,
        /,
        *,
        keep: Tensor | None = None,
        target: Target | None = None,
    ) -> Float[Tensor, "n c"]:
        """Columns of the target; `keep` is 1 at the places that are seen, else 0."""
        ...


def covered(
    network: Network,
    inputs: Inputs,
    *,
    keep: Tensor | None = None,
    target: Target | None = None,
    cover: Inputs | None = None,
) -> Float[Tensor, "n c"]:
    """Read a target while places are covered with something else.

    Args:
        network: the network, which is left as it was.
        inputs: a batch.
        keep: 1 where the inputs are seen and 0 where the cover is: pixels `[n 1 H W]`, words
            `[n t]` or numbers `[n d]`; None shows everything.
        target: what is read; the default is what the network returns.
        cover: another batch; the default is blank, see `blank`: the mean colour, or padding that
            is also masked.

    Raises:
        LayerwiseError: `keep` has not the shape of the places.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(2, 1, bias=False), example=torch.zeros(1, 2))
        >>> covered(network, torch.ones(1, 2), keep=torch.zeros(1, 2)).item()
        0.0
    """
    require_inputs(inputs)
    target = target or Target()
    if keep is None:
        return target.read(network, inputs)
    cover = blank(network, inputs) if cover is None else cover
    seen = broadcast(keep, inputs)
    if not isinstance(inputs, Mapping):
        assert isinstance(cover, Tensor)
        return target.read(network, _mixed(seen, inputs, cover))
    assert isinstance(cover, Mapping)
    name = main(inputs)
    mixed = {**inputs, name: _mixed(seen, inputs[name], cover[name])}
    if inputs[name].ndim == 2 and not inputs[name].is_floating_point():
        mask = inputs.get("attention_mask", torch.ones_like(inputs[name]))
        # What the cover leaves as it is, such as marks of beginning and end, stays in sight.
        shown = mask * (seen.bool() | (cover[name] == inputs[name]))
        mixed["attention_mask"] = torch.where(shown.any(1, keepdim=True), shown, mask)
    return target.read(network, mixed)


def places_of(inputs: Inputs) -> tuple[int, ...]:
    """The places of one sample: `(H, W)` of a picture, `(t,)` of a text, `(d,)` of numbers.

    Args:
        inputs: a batch.

    Raises:
        LayerwiseError: nobody knows which axes are places.
    """
    value = inputs[main(inputs)] if isinstance(inputs, Mapping) else inputs
    if value.ndim == 4:
        return tuple(value.shape[2:])
    if value.ndim in (2, 3):
        return (value.shape[1],)
    raise LayerwiseError(
        f"inputs of shape {list(value.shape)} have no known places; give pictures [n c H W], "
        f"sequences [n t d], words [n t] or numbers [n d]"
    )


def main(inputs: Mapping[str, Tensor]) -> str:
    """Which of several inputs holds the places: the pixels or the words.

    Args:
        inputs: a batch by the names of the forward's arguments.
    """
    numbers = [name for name, value in inputs.items() if value.is_floating_point()]
    return numbers[0] if numbers else next(iter(inputs))


def broadcast(keep: Tensor, inputs: Inputs) -> Tensor:
    """Bring `keep` to the axes of the inputs.

    Args:
        keep: one number for each place of each sample, with or without a channel axis.
        inputs: a batch.

    Raises:
        LayerwiseError: it has not the shape of the places.
    """
    value = inputs[main(inputs)] if isinstance(inputs, Mapping) else inputs
    places = places_of(inputs)
    flat = keep.reshape(len(keep), -1)
    count = torch.Size(places).numel()
    if len(keep) != len(value) or flat.shape[1] != count:
        raise LayerwiseError(
            f"keep has shape {list(keep.shape)} for inputs of {list(value.shape)}; give one number "
            f"for each of the {' x '.join(map(str, places))} places"
        )
    shape = (len(keep), 1, *places) if value.ndim == 4 else (len(keep), *places)
    return flat.view(shape + (1,) * (value.ndim - len(shape)))


def _mixed(seen: Tensor, value: Tensor, cover: Tensor) -> Tensor:
    if value.is_floating_point():
        return cover + seen.to(value.dtype) * (value - cover)
    return torch.where(seen.bool(), value, cover)
