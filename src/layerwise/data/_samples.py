"""What the other rooms know of data: named samples, their targets, and what was set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import torch
from torch import Tensor

Modality = Literal["image", "text", "tensor"]
"""Kind of one sample: a PIL image, a string, or a tensor without its batch axis."""


class Unreadable(Exception):
    """One sample could not be read; the message says why. The rest of the batch goes on."""


@final
@dataclass(frozen=True)
class SetAside:
    """A sample that was left out, and the reason.

    Args:
        name: the sample's name, as in `Samples.names`.
        reason: one line that says what is wrong with it.
    """

    name: str
    reason: str


@final
@dataclass(frozen=True)
class Target:
    """One thing to be read off the samples.

    Args:
        name: column or built-in name.
        kind: `class` for labels, `number` for quantities.
        values: `[n]`; class indices as int64 with -1 where missing, or float64 with NaN.
        classes: names of the classes in the order of their indices; empty for numbers.
        groups: `n` names; samples of one group never stand on two sides of a split.
    """

    name: str
    kind: Literal["class", "number"]
    values: Tensor
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None

    @property
    def known(self) -> Tensor:
        """`[n]` bool: where the value is not missing."""
        return self.values >= 0 if self.kind == "class" else ~torch.isnan(self.values)

    def grouped(self, groups: Sequence[str]) -> Target:
        """The same target, with groups that stay together."""
        return replace(self, groups=tuple(groups))

    def take(self, indices: Sequence[int]) -> Target:
        """The same target for some of the samples, in the order given."""
        groups = tuple(self.groups[i] for i in indices) if self.groups else None
        return replace(
            self,
            values=self.values[torch.as_tensor(list(indices), dtype=torch.int64)],
            groups=groups,
        )


@final
@dataclass(frozen=True)
class Samples:
    """Samples that are known by name and content, and read one at a time.

    Args:
        modality: what `load` returns.
        source: where they come from, as the user gave it.
        names: `n` names that people recognise: paths, row numbers.
        keys: `n` different strings made from each sample's content, so that equal keys mean equal
            samples in every run and on every machine.
        items: `n` small picklable things that `loader` turns into a sample.
        loader: reads one item; raises `Unreadable`. It must be picklable, for worker processes.
        targets: by name.
        split: `n` words `train`, `validation` or `test` where the data say so.
        set_aside: what was already left out while opening.
        notes: how the source was understood where that had to be found out, a line each.
    """

    modality: Modality
    source: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    items: tuple[Any, ...]
    loader: Callable[[Any], Any]
    targets: Mapping[str, Target] = field(default_factory=dict)
    split: tuple[str, ...] | None = None
    set_aside: tuple[SetAside, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> Any:
        """Read one sample.

        Raises:
            Unreadable: with the reason.
        """
        return self.loader(self.items[index])

    def take(self, indices: Sequence[int]) -> Samples:
        """Some of the samples, in the order given."""
        rows = [int(i) for i in indices]
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            keys=tuple(self.keys[i] for i in rows),
            items=tuple(self.items[i] for i in rows),
            targets={name: target.take(rows) for name, target in self.targets.items()},
            split=tuple(self.split[i] for i in rows) if self.split else None,
        )
