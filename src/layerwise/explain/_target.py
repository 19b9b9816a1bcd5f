"""What is explained: numbers that are read off one layer.

What a network returns is only one more layer, so a class, a channel in the middle and the decision
of a readout on any layer are explained by the same code: `labels` says which column of the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, part, require_inputs, running
from layerwise.features import Mean
from layerwise.features.laws import Pooling
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest, usable
from layerwise.taps._tap import Enough, tap

Head = Callable[[Tensor], Tensor]
"""Makes the columns `[n c]` that labels count out of pooled rows `[n d]`."""


@final
@dataclass(frozen=True)
class Target:
    """What is explained.

    Args:
        layer: address of the layer it is read off; `.` is what the network returns.
        pooling: makes one row of each sample's places, where the layer has places.
        head: makes the columns out of the rows, as a fitted readout does; None takes the layer's
            own channels.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(2, 3), example=torch.zeros(1, 2))
        >>> Target().read(network, torch.zeros(4, 2)).shape
        torch.Size([4, 3])
    """

    layer: str = "."
    pooling: Pooling = field(default_factory=Mean)
    head: Head | None = None

    def found(self, network: Network) -> Layer:
        """The layer in a network.

        Args:
            network: where to look.

        Raises:
            LayerwiseError: no such layer, or several things flow out of it.
        """
        return network.layers.find(self.layer)

    def columns(self, layer: Layer, value: Tensor, inputs: Inputs) -> Float[Tensor, "n c"]:
        """The columns, of what flows out of the layer.

        Args:
            layer: the layer.
            value: what flows out of it, as the module gave it.
            inputs: the batch it comes from, with `attention_mask` where texts are padded.
        """
        return self.of(layer, layer.sure.standard(value), inputs)

    def of(self, layer: Layer, value: Tensor, inputs: Inputs) -> Float[Tensor, "n c"]:
        """The columns, of what flows out of the layer in its standard form, as `read` gives it.

        Args:
            layer: the layer.
            value: what flows out of it.
            inputs: the batch it comes from, with `attention_mask` where texts are padded.
        """
        layout = layer.sure
        if layout.form == "vector":
            rows = value
        else:
            tokens = layout.tokens(value)
            first = self.pooling.name == "first"
            places = tokens if first else tokens[:, layout.prefix :]
            mask = None if first else _mask(inputs, places)
            rows = self.pooling(places, mask)
        return rows if self.head is None else self.head(rows)

    def read(self, network: Network, inputs: Inputs, *, at_once: int = 128) -> Float[Tensor, "n c"]:
        """The columns of a batch, in plain forwards that end at the layer.

        Args:
            network: the network, which is left as it was.
            inputs: a batch.
            at_once: samples in one forward.

        Raises:
            LayerwiseError: no such layer, or inputs that the network does not run on.
        """
        network.take_example(inputs)
        n, layer = require_inputs(inputs), self.found(network)
        rows: list[Tensor] = []
        with at_rest(network.module):
            for start in range(0, n, at_once):
                batch = part(inputs, start, start + at_once)

                def receive(_: Layer, value: Tensor, batch: Inputs = batch) -> None:
                    rows.append(self.columns(layer, value, batch).detach())

                with running(network, batch), tap(network, layer.name, receive, stop=True) as seen:
                    try:
                        network(usable(batch))
                    except Enough:
                        pass
                    else:
                        seen.require_all()
        return torch.cat(rows)


def chosen(columns: Float[Tensor, "n c"], labels: Int[Tensor, " _"]) -> Float[Tensor, " n"]:
    """One column of each row.

    Args:
        columns: all of them.
        labels: which one.

    Raises:
        LayerwiseError: not one label for each row, or one that is out of range.
    """
    n, c = columns.shape
    if labels.shape != (n,):
        raise LayerwiseError(
            f"{n} inputs but labels of shape {list(labels.shape)}; give one label for each input"
        )
    bad = (labels < 0) | (labels >= c)
    if bool(bad.any()):
        raise LayerwiseError(
            f"label {int(labels[bad][0])} is out of range: the target has {c} columns, "
            f"so labels are 0 to {c - 1}"
        )
    return columns.gather(1, labels.to(columns.device).unsqueeze(1)).squeeze(1)


def _mask(inputs: Inputs, places: Tensor) -> Tensor | None:
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return mask.bool() if mask is not None and mask.shape == places.shape[:2] else None
