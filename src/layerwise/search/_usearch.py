"""The graph index of `usearch` behind the call of `Neighbours`: nearly exact, sooner for many rows.

A hierarchical navigable small world (Malkov and Yashunin 2016) proposes candidates, which are
measured again (see `_graph.py`). The graph is built by one thread: the same rows make the same
graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.search._graph import as_numpy, nearest, stored
from layerwise.search._neighbours import Found


@final
@dataclass(frozen=True)
class Usearch:
    """Finds near stored rows through a graph. Build it with `fit`.

    Args:
        gallery: the stored rows, of length 1 where directions are compared.
        graph: as `usearch` writes it.
        cosine: queries are brought to length 1 first.
        effort: rows that are looked at for each one that is asked for.

    Example:
        >>> index = Usearch.fit(torch.eye(3), cosine=False)
        >>> index(torch.tensor([[0.0, 0.9, 0.1]]), count=2).rows.tolist()
        [[1, 2]]
    """

    gallery: Float[Tensor, "n d"]
    graph: bytes
    cosine: bool
    effort: int = 128

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        cosine: bool = True,
        links: int = 16,
        effort: int = 128,
    ) -> Usearch:
        """Store rows and build the graph.

        Args:
            features: one row per sample.
            cosine: compare directions; without it, places.
            links: of each row to others.
            effort: rows that are looked at for each one that is added or asked for.

        Raises:
            LayerwiseError: there are no rows, some are not finite, or `usearch` is not installed.
        """
        rows = stored(features, cosine=cosine)
        native = _library().Index(
            ndim=rows.shape[1],
            metric="l2sq",
            dtype="f32",
            connectivity=links,
            expansion_add=effort,
            expansion_search=effort,
        )
        native.add(torch.arange(len(rows)).numpy(), as_numpy(rows), threads=1)
        return cls(rows, bytes(native.save()), cosine, effort)

    def __call__(self, features: Float[Tensor, "m d"], *, count: int = 20) -> Found:
        """Find near rows of each query. Arguments and errors as those of `Neighbours`."""
        return nearest(self.gallery, features, self._propose, cosine=self.cosine, count=count)

    def _propose(self, queries: Any, count: int) -> Tensor:
        rows = torch.full((len(queries), count), -1)
        for row, query in enumerate(queries):
            keys = torch.from_numpy(self._native.search(query, count, threads=1).keys.astype(int))
            rows[row, : len(keys)] = keys
        return rows

    @cached_property
    def _native(self) -> Any:
        native = _library().Index.restore(self.graph)
        native.expansion_search = self.effort  # what is restored begins with the package's own
        return native

    def __reduce__(self) -> tuple[Any, ...]:
        return Usearch, (self.gallery, self.graph, self.cosine, self.effort)


def _library() -> Any:
    try:
        from usearch import index
    except ImportError:
        raise LayerwiseError(
            "Usearch needs the package usearch; install it with `pip install usearch`, or search "
            "exactly with Neighbours"
        ) from None
    return index
