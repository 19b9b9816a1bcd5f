"""One vector of a sample out of several layers: each at length 1, side by side, perhaps whitened.

The cosine of two joined vectors is the mean of the cosines in each layer, so that no layer outvotes
another by its width or scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Whiten


@final
class Descriptor(nn.Module):
    """Joins features of several layers into one vector of length 1.

    Args:
        names: of the layers, or of a store's columns.
        whiten: what the joined vector is whitened by.

    Raises:
        LayerwiseError: there are no names.

    Example:
        >>> join = Descriptor(["a", "b"])
        >>> joined = join({"a": torch.eye(3), "b": 9 * torch.eye(3).flip(0)})
        >>> joined.shape, [round(x, 4) for x in (joined @ joined.T)[0].tolist()]
        (torch.Size([3, 6]), [1.0, 0.0, 0.0])
    """

    def __init__(self, names: Sequence[str], whiten: Whiten | None = None) -> None:
        super().__init__()
        if not names:
            raise LayerwiseError("there are no layers to join; name one or more")
        self.names = tuple(names)
        self.whiten = whiten

    def forward(self, layers: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
        """Join.

        Args:
            layers: features of these layers, and any others.

        Raises:
            LayerwiseError: a layer is missing, or a row is not finite.
        """
        if missing := [name for name in self.names if name not in layers]:
            raise LayerwiseError(f"the features of {', '.join(missing)} are missing; read them too")
        units = [nn.functional.normalize(layers[name].float(), dim=1) for name in self.names]
        joined = torch.cat(units, 1)
        joined = joined if self.whiten is None else self.whiten(joined)
        return nn.functional.normalize(joined, dim=1)
