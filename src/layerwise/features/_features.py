"""What was read from some layers, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from torch import Tensor

from layerwise.errors import unknown


@final
class Features(Mapping[str, Tensor]):
    """Tensors by the address of their layer, in the order of execution.

    Each stands in its standard form: `vector [n d]`, `map [n c h w]` or `tokens [n t d]`.

    Args:
        values: tensors by address.

    Example:
        >>> import torch
        >>> features = Features({"blocks.0": torch.zeros(2, 8, 4, 4)})
        >>> features["blocks.0"].shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = dict(values)

    def __getitem__(self, layer: str) -> Tensor:
        if layer not in self._values:
            raise unknown("layer that was read", layer, self._values)
        return self._values[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, layer: object) -> bool:
        return layer in self._values

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {list(value.shape)}" for name, value in self._values.items())
        return f"Features({rows})"
