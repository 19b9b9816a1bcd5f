"""Rows on their way into a store: checked, gathered, and committed many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from layerwise.data import Batch, Samples
from layerwise.errors import LayerwiseError
from layerwise.features import Column, Store
from layerwise.features._disk import plain_errors
from layerwise.features._lance import Values
from layerwise.taps._plan import Plan

_HOPELESS = 8
"""So many samples without a single good row, and the network is at fault."""
_COMMIT_BYTES = 256 << 20


@final
class Pending:
    """Gathers the rows of whole batches and commits them in the order of the plan.

    Args:
        store: where the rows go.
        columns: what stands side by side in the values of a row.
        samples: the data.
        labels: targets of all samples, by name.
        plan: the plan that is carried out.
        folder: where the plan stands, for the reasons why samples are set aside.
    """

    def __init__(
        self,
        store: Store,
        columns: Sequence[Column],
        samples: Samples,
        labels: Mapping[str, Values],
        *,
        plan: Plan,
        folder: Path,
    ) -> None:
        self.store, self.columns = store, columns
        self.samples, self.labels = samples, labels
        self.plan, self.folder = plan, folder
        self.set_aside: dict[str, str] = dict(plan.set_aside)
        self.truncated: list[str] = []
        self._unsound = 0
        self._rows: list[tuple[list[int], Tensor]] = []

    def __len__(self) -> int:
        return sum(len(indices) for indices, _ in self._rows)

    def full(self, rows: int) -> bool:
        """Whether there are so many rows, or so wide ones, that they should be committed."""
        size = sum(values.nbytes for _, values in self._rows)
        return len(self) >= rows or size >= _COMMIT_BYTES

    def add(self, planned: Sequence[int], batch: Batch, values: Tensor) -> None:
        """Take the rows of a batch; samples without a sound row are set aside.

        Args:
            planned: indices of all samples of the batch.
            batch: what could be read of it.
            values: `[n d]` for those that could be read.

        Raises:
            LayerwiseError: the network gives nothing sound, or what float16 cannot hold.
        """
        read = set(batch.indices)
        unread = [index for index in planned if index not in read]
        for index, aside in zip(unread, batch.set_aside, strict=True):
            self.set_aside[self.samples.keys[index]] = aside.reason
        if not batch.indices:
            return
        self.truncated += [
            self.samples.names[index]
            for index, prepared in zip(batch.indices, batch.prepared, strict=True)
            if isinstance(prepared, Mapping) and prepared.get("truncated", False)
        ]
        stored = values.to(getattr(torch, self.store.recipe.dtype))
        if not _sound(stored).all():
            self._set_unsound_aside(batch, values)
        sound = _sound(values)
        self._require_held(values[sound], stored[sound])
        indices = [index for index, keep in zip(batch.indices, sound, strict=True) if keep]
        # One step, so that Ctrl-C finds a batch here as a whole or not at all.
        self._rows.append((indices, stored[sound]))

    def commit(self) -> None:
        """Append what was gathered, after the reasons for what is missing in it."""
        rows, self._rows = self._rows, []
        indices = [index for batch, _ in rows for index in batch]
        if not indices:
            return
        with plain_errors(self.store.path):
            if self.set_aside != self.plan.set_aside:
                self.plan = replace(self.plan, set_aside=dict(self.set_aside))
                self.plan.write(self.folder)
        values = torch.cat([values for _, values in rows])
        parts = values.split([column.width for column in self.columns], 1)
        self.store.append(
            [self.samples.keys[index] for index in indices],
            [self.samples.names[index] for index in indices],
            dict(zip(self.columns, parts, strict=True)),
            {name: _some(values, indices) for name, values in self.labels.items()},
        )

    def _set_unsound_aside(self, batch: Batch, values: Tensor) -> None:
        sound = values.isfinite()
        for row in (~sound.all(1)).nonzero().flatten().tolist():
            layer = self._column_at(sound[row]).layer
            reason = f"layer {layer!r} gives NaN or infinite values"
            self.set_aside[self.samples.keys[batch.indices[row]]] = reason
            self._unsound += 1
        none_good = not (sound.all(1).any() or len(self) or len(self.store))
        if none_good and self._unsound >= min(_HOPELESS, len(self.samples)):
            layer = self._column_at(sound.all(0)).layer
            raise LayerwiseError(
                f"layer {layer!r} and what follows give NaN or infinite values for every one of "
                f"the first samples; look at the network's weights and at its precision"
            )

    def _require_held(self, values: Tensor, stored: Tensor) -> None:
        if not _sound(stored).all():
            column = self._column_at(stored.isfinite().all(0))
            raise LayerwiseError(
                f"layer {column.layer!r} ({column.pooling}) reaches {values.abs().max():.3g}, more "
                f"than {self.store.recipe.dtype} holds; take dtype='float32' and another folder"
            )

    def _column_at(self, sound: Tensor) -> Column:
        """The column of the first value that is not sound."""
        place = int((~sound).nonzero()[0])
        for column in self.columns:
            if place < column.width:
                return column
            place -= column.width
        raise AssertionError("more values than columns")


def _sound(values: Tensor) -> Tensor:
    """Which rows are finite all along: in float64 no sum of such a row can overflow."""
    return values.sum(1, dtype=torch.float64).isfinite()


def _some(values: Values, indices: Sequence[int]) -> Values:
    if isinstance(values, Tensor):
        return values[torch.tensor(indices)]
    return [values[index] for index in indices]
