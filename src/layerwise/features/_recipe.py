"""What a feature store was made with, and the names of its columns.

Two runs may share a store only where every feature would come out the same. `Recipe` holds what
decides that, and says in words where two recipes differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, final

StoredType = Literal["float32", "float16"]


@final
@dataclass(frozen=True)
class Column:
    """One column of a store: a layer, pooled in one way.

    Args:
        layer: address of the layer.
        pooling: name of the pooling.
        width: length of one sample's vector.
        layout: form of what was pooled, in words.
        method: the pooling with its options, in words.

    Example:
        >>> column = Column("blocks.3.0", "mean", width=192, layout="map", method="Mean()")
        >>> column.name
        'blocks/3/0:mean'
    """

    layer: str
    pooling: str
    width: int
    layout: str
    method: str

    @property
    def name(self) -> str:
        """The column's name in the Lance dataset.

        Lance reads a dot as a nested field, so `blocks.3.0` stands as `blocks/3/0`, with the
        pooling after the last colon. A `/` of its own stands as `%2F`, a dot in the pooling as
        `%2E`, and `%` as `%25`.
        """
        address = self.layer.replace("%", "%25").replace("/", "%2F").replace(".", "/")
        # A layer of this very name would be taken for the target that is called like the pooling.
        address = "%74arget" if address == "target" else address
        return f"{address}:{without_dots(self.pooling)}"


@final
@dataclass(frozen=True)
class Recipe:
    """Everything that decides a store's features.

    Args:
        weights: hash of the network's weights.
        preparation: what is done to a sample before the network sees it, in words.
        dtype: type the features are stored in.
        columns: every layer and pooling.
        about: remarks that decide nothing: versions, source of the network and the data.

    Example:
        >>> column = Column("blocks.3", "mean", width=8, layout="map", method="Mean()")
        >>> ours = Recipe("a1b2", "Resize(224)", "float32", (column,))
        >>> ours.difference(Recipe("a1b2", "Resize(518)", "float32", (column,)))
        'another preparation (there Resize(224), now Resize(518))'
    """

    weights: str
    preparation: str
    dtype: StoredType
    columns: tuple[Column, ...]
    about: Mapping[str, str] = field(default_factory=dict, compare=False)

    def difference(self, now: Recipe) -> str:
        """Where another recipe differs from this one, in words; empty if their features agree."""
        found = []
        if now.weights != self.weights:
            found.append(f"other weights (there {self.weights[:12]}, now {now.weights[:12]})")
        if now.preparation != self.preparation:
            there, here = self.preparation, now.preparation
            found.append(f"another preparation (there {there}, now {here})")
        if now.dtype != self.dtype:
            found.append(f"another type of number (there {self.dtype}, now {now.dtype})")
        return "; ".join(found + self._other_columns(now))

    def _other_columns(self, now: Recipe) -> list[str]:
        there = {column.name: column for column in self.columns}
        here = {column.name: column for column in now.columns}
        found = []
        if lacking := [here[name] for name in here if name not in there]:
            found.append(f"without {_some(lacking)}")
        if surplus := [there[name] for name in there if name not in here]:
            found.append(f"with {_some(surplus)} besides")
        if other := [here[name] for name in here if name in there and here[name] != there[name]]:
            was = there[other[0].name]
            found.append(
                f"another form of {_some(other)} (there {was.width} of {was.layout} by "
                f"{was.method}, now {other[0].width} of {other[0].layout} by {other[0].method})"
            )
        return found

    def to_json(self) -> str:
        """The recipe as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            KeyError: something is missing; like the next two, a sign of damage.
            TypeError: something is of the wrong kind.
            ValueError: the text is not JSON.
        """
        values = json.loads(text)
        columns = tuple(Column(**column) for column in values["columns"])
        return cls(
            values["weights"], values["preparation"], values["dtype"], columns, values["about"]
        )


def without_dots(name: str) -> str:
    """A name as a part of a column's: Lance reads a dot as a nested field.

    Example:
        >>> without_dots("gem4.6")
        'gem4%2E6'
    """
    return name.replace("%", "%25").replace(".", "%2E")


def _some(columns: list[Column]) -> str:
    named = ", ".join(f"{column.layer} ({column.pooling})" for column in columns[:3])
    return named + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
