"""Approximate search on disk, by Lance's own vector index, with the recall that was measured.

Vectors are dealt to about sqrt(n) cells and kept in 8 bits a number (IVF_SQ); a query looks into
its nearest `probes` cells and measures the best candidates again in full. `build` doubles the
probes until the recall on stored vectors, looked up among all others, is what is wanted. Rows that
are added later are searched one by one by Lance until the next `build`, deleted ones never
come back: the answers stay right all the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.features._disk import plain_errors, write_whole

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

_NAME = "nearest"
_ASKED, _COUNT, _REFINE = 100, 10, 4


@final
@dataclass(frozen=True)
class Approximate:
    """What a vector index was built with, and how well it finds.

    Args:
        rows: how many it was built over.
        cells: parts that they were dealt to.
        probes: cells that a query looks into.
        recall: share of the true ten nearest that are found.
    """

    rows: int
    cells: int
    probes: int
    recall: float

    def write(self, path: Path) -> None:
        """Write it down, whole or not at all."""
        write_whole(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Approximate | None:
        """Read it; None where there is none."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def build(folder: Path, column: str, *, wanted: float = 0.95, seed: int = 0) -> Approximate:
    """Build the vector index of a dataset anew, and measure it.

    Args:
        folder: the Lance dataset.
        column: vectors of length 1.
        wanted: recall that is looked for.
        seed: chooses the rows that are asked for.

    Raises:
        LayerwiseError: the disk is full or the dataset is damaged.
    """
    import lance

    with plain_errors(folder):
        dataset = lance.dataset(str(folder))
        rows = dataset.count_rows()
        cells = max(1, round(rows**0.5))
        dataset.create_index(
            column, "IVF_SQ", name=_NAME, metric="l2", replace=True, num_partitions=cells
        )
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        asked = order[:_ASKED].sort().values
        queries = vectors_of(dataset.take(asked.tolist(), columns=[column])[column])
        truth = _exact(dataset, column, queries, _COUNT + 1)
        probes = min(8, cells)
        while True:
            found = ask(dataset, column, queries, _COUNT + 1, probes=probes, columns=["key"])
            hits = [
                len(set(f["key"].to_pylist()) & t) - 1 for f, t in zip(found, truth, strict=True)
            ]
            recall = sum(hits) / (min(_COUNT, rows - 1) * len(hits))
            if recall >= wanted or probes == cells:
                return Approximate(rows, cells, probes, recall)
            probes = min(2 * probes, cells)


def ask(
    dataset: lance.LanceDataset,
    column: str,
    queries: Float[Tensor, "m d"],
    count: int,
    *,
    probes: int,
    columns: Sequence[str],
) -> list[pa.Table]:
    """The rows near to each query, with `_distance`, the square of the Euclidean distance.

    Args:
        dataset: opened once for many questions: it remembers the index, which takes longer to read
            than a question does.
        column: vectors of length 1.
        queries: of length 1.
        count: how many for each.
        probes: cells to look into.
        columns: what to read of the rows.
    """
    nearest = {"column": column, "k": count, "nprobes": probes, "refine_factor": _REFINE}
    return [
        dataset.to_table(columns=[*columns, "_distance"], nearest={**nearest, "q": query})
        for query in queries.float().numpy()
    ]


def vectors_of(column: pa.Array | pa.ChunkedArray) -> Float[Tensor, "n d"]:
    """The vectors of a column."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return torch.tensor(array.flatten().to_numpy()).view(len(array), array.type.list_size)


def _exact(dataset: lance.LanceDataset, column: str, queries: Tensor, count: int) -> list[set[str]]:
    """Keys of the nearest rows of each query, by a matrix product with one batch at a time."""
    names: list[str] = []
    best = rows = torch.empty(len(queries), 0)
    for batch in dataset.to_batches(columns=["key", column], batch_size=8192):
        start = len(names)
        names += batch["key"].to_pylist()
        scores = queries @ vectors_of(batch[column]).T
        places = torch.arange(start, len(names)).expand(len(queries), -1)
        if start == 0:
            best, rows = scores, places
        else:
            best, rows = torch.cat([best, scores], 1), torch.cat([rows, places], 1)
        kept = best.topk(min(count, best.shape[1]), dim=1)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return [{names[place] for place in row} for row in rows.tolist()]
