"""What one request may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many may be under way.

    Args:
        bytes: of a request's body, counted as they arrive.
        seconds: for a request, from its first byte to its answer.
        inputs: in a request.
        requests: with a body, at the same time; more are told to come back.

    Raises:
        LayerwiseError: one of them is not positive.

    Example:
        >>> Limits(inputs=8).inputs
        8
    """

    bytes: int = 32 * 2**20
    seconds: float = 60.0
    inputs: int = 64
    requests: int = 32

    def __post_init__(self) -> None:
        for name in ("bytes", "seconds", "inputs", "requests"):
            value = getattr(self, name)
            if not value > 0:
                raise LayerwiseError(f"{name}={value}; the limit must be above 0")
