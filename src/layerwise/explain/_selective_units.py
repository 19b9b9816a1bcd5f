"""Units that single out a few samples: chosen on some samples, measured on others.

A unit is selective if its strongest samples stand far above its mean, in deviations. Among hundreds
of units some always do, so how far is told of samples that had no part in the choice. Of units with
the same strongest sample only the most selective is taken: an odd sample excites very many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._exemplars import exemplars


@final
@dataclass(frozen=True)
class UnitRow:
    """One unit of a layer.

    Args:
        unit: its number.
        selective: how far the strongest of the samples held out stand above the mean of the
            others, in their deviations; as large a part of them as the samples shown are.
        samples: those of the others that excite it most, the most first.
    """

    unit: int
    selective: float
    samples: tuple[int, ...]


def selective_units(
    features: Float[Tensor, "n d"], *, held: Bool[Tensor, " n"], count: int = 4, shown: int = 5
) -> tuple[UnitRow, ...]:
    """Find the units that single out a few samples most, the most selective first.

    Args:
        features: one row for each sample.
        held: which samples are held out of the choice.
        count: units, as far as so many have strongest samples of their own.
        shown: samples of each.

    Raises:
        LayerwiseError: no samples on one of the two sides, or values that are not finite.

    Example:
        >>> features = torch.zeros(8, 3)
        >>> features[1, 2] = features[5, 2] = 1.0
        >>> held = torch.arange(8) >= 4
        >>> [(row.unit, row.samples) for row in selective_units(features, held=held, shown=1)]
        [(2, (1,))]
    """
    if bool(held.all()) or not bool(held.any()):
        raise LayerwiseError(
            f"{int(held.sum())} of {len(held)} samples held out; units are chosen on some samples "
            f"and measured on others, so give at least 1 of each"
        )
    held = held.to(features.device)
    rows, others = (~held).nonzero()[:, 0], features[held]
    some = features[rows]
    found = exemplars(some, count=shown)
    mean, spread = some.mean(dim=0), some.std(dim=0, correction=0)
    varies = spread > 1e-6 * some.abs().amax(dim=0)  # rounding, where all are equal
    height = torch.where(varies, (found.values.mean(dim=1) - mean) / spread, 0)
    first: dict[int, int] = {}
    for unit in height.argsort(descending=True, stable=True)[: int(varies.sum())].tolist():
        if len(first) == count:
            break
        first.setdefault(int(found.samples[unit, 0]), unit)
    units = list(first.values())
    part = max(1, round(found.samples.shape[1] * len(others) / len(some)))
    above = (others[:, units].topk(part, dim=0).values.mean(dim=0) - mean[units]) / spread[units]
    return tuple(
        UnitRow(unit, far, tuple(rows[found.samples[unit]].tolist()))
        for unit, far in zip(units, above.tolist(), strict=True)
    )
