"""What a reading costs, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class Price:
    """What it takes to get to a layer.

    Args:
        alone: milliseconds of a sample in a batch of one.
        together: milliseconds of a sample in a batch of 32, or of all samples where they are fewer.
        parameters: of everything that has run by then.
        bytes: of these parameters.
    """

    alone: float
    together: float
    parameters: int
    bytes: int


@final
@dataclass(frozen=True)
class Budget:
    """What a reading may cost; None is no bound.

    Args:
        milliseconds: of a sample alone.
        megabytes: of parameters that are kept.
    """

    milliseconds: float | None = None
    megabytes: float | None = None

    def allows(self, price: Price) -> bool:
        """Whether a price is within it."""
        return (self.milliseconds is None or price.alone <= self.milliseconds) and (
            self.megabytes is None or price.bytes / 1e6 <= self.megabytes
        )

    def require_something(self, prices: Mapping[tuple[str, str], Price], target: str) -> None:
        """Make sure that at least one layer can be paid for.

        Args:
            prices: by network and layer.
            target: what is to be read.

        Raises:
            LayerwiseError: none can; the message names the cheapest.
        """
        if any(map(self.allows, prices.values())):
            return
        (network, layer), least = min(prices.items(), key=lambda at: (at[1].alone, at[1].bytes))
        raise LayerwiseError(
            f"nothing that reads {target!r} is within the budget of {self}; the cheapest is "
            f"{layer} of {network} with {least.alone:.2f} ms and {least.bytes / 1e6:.2f} MB"
        )

    def __str__(self) -> str:
        """In words.

        Example:
            >>> str(Budget(5.0, 20.0))
            '5 ms and 20 MB'
        """
        bounds = ((self.milliseconds, "ms"), (self.megabytes, "MB"))
        return " and ".join(f"{bound:g} {unit}" for bound, unit in bounds if bound is not None)


UNBOUNDED = Budget()
"""A budget that allows everything."""
