"""One place of a layer, to explain a unit where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class At:
    """Takes the row of one place as it is, for `Target(layer, pooling=At(place))`.

    Args:
        place: counted from 0 over the places, row by row in a map; -1 is the last.

    Example:
        >>> import torch
        >>> At(1)(torch.arange(6.0).view(1, 3, 2)).tolist()
        [[2.0, 3.0]]
    """

    place: int

    @property
    def name(self) -> str:
        """Short name for tables and columns."""
        return f"at-{self.place}"

    def __call__(
        self,
        tokens: Float[Tensor, "n t d"],
        mask: Bool[Tensor, "n t"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n d"]:
        """Take the place; whether it is padding is not asked.

        Raises:
            LayerwiseError: there is no such place.
        """
        places = tokens.shape[1]
        if not -places <= self.place < places:
            raise LayerwiseError(f"place {self.place} is not among the layer's {places} places")
        return tokens[:, self.place]
