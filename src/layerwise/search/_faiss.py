"""The graph index of `faiss` behind the call of `Neighbours`: nearly exact, sooner for many rows.

A hierarchical navigable small world (Malkov and Yashunin 2016) proposes candidates, which are
measured again (see `_graph.py`). The graph is built by as many threads as torch uses; with one, the
same rows make the same graph.
"""

from __future__ import annotations

import warnings
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
class Faiss:
    """Finds near stored rows through a graph. Build it with `fit`.

    Args:
        gallery: the stored rows, of length 1 where directions are compared.
        graph: as `faiss` writes it.
        cosine: queries are brought to length 1 first.

    Example:
        >>> index = Faiss.fit(torch.eye(3), cosine=False)
        >>> index(torch.tensor([[0.0, 0.9, 0.1]]), count=2).rows.tolist()
        [[1, 2]]
    """

    gallery: Float[Tensor, "n d"]
    graph: bytes
    cosine: bool

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        cosine: bool = True,
        links: int = 16,
        effort: int = 128,
    ) -> Faiss:
        """Store rows and build the graph.

        Args:
            features: one row per sample.
            cosine: compare directions; without it, places.
            links: of each row to others.
            effort: rows that are looked at for each one that is added or asked for.

        Raises:
            LayerwiseError: there are no rows, some are not finite, or `faiss` is not installed.
        """
        rows = stored(features, cosine=cosine)
        library = _library()
        native = library.IndexHNSWFlat(rows.shape[1], links)
        native.hnsw.efConstruction = native.hnsw.efSearch = effort
        native.add(as_numpy(rows))
        return cls(rows, library.serialize_index(native).tobytes(), cosine)

    def __call__(self, features: Float[Tensor, "m d"], *, count: int = 20) -> Found:
        """Find near rows of each query. Arguments and errors as those of `Neighbours`."""
        return nearest(self.gallery, features, self._propose, cosine=self.cosine, count=count)

    def _propose(self, queries: Any, count: int) -> Tensor:
        return torch.from_numpy(self._native.search(queries, count)[1])

    @cached_property
    def _native(self) -> Any:
        import numpy as np

        return _library().deserialize_index(np.frombuffer(self.graph, dtype=np.uint8))

    def __reduce__(self) -> tuple[Any, ...]:
        return Faiss, (self.gallery, self.graph, self.cosine)


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its wrapper is not made for the newest Python
            import faiss
    except ImportError:
        raise LayerwiseError(
            "Faiss needs the package faiss-cpu; install it with `pip install faiss-cpu`, or search "
            "exactly with Neighbours"
        ) from None
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
