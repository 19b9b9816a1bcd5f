"""Copies and groups in data: from samples and a network to lists of what belongs together."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.data import Samples, SetAside
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.search._card import Card
from layerwise.search._changed import changed
from layerwise.search._groups import copies, groups, parting
from layerwise.search._indexing import Described, describe
from layerwise.search._trying import new_card
from layerwise.taps._extract import Progress

_TRIED = 200


@final
@dataclass(frozen=True)
class Sorted:
    """Samples that belong together.

    Args:
        samples: all that could be read.
        rows: of each group, the most typical first, the largest group first.
        names: of the same.
        words: how they were found, in a sentence.
        set_aside: samples that could not be read.
    """

    samples: Samples
    rows: tuple[tuple[int, ...], ...]
    names: tuple[tuple[str, ...], ...]
    words: str
    set_aside: tuple[SetAside, ...]


def dedupe(
    network: Network,
    samples: Samples,
    *,
    layers: str = "auto",
    threshold: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sorted:
    """Find samples that are copies of each other.

    Args:
        network: reads the samples.
        samples: where copies are looked for.
        layers: addresses or patterns; `auto` takes those that find changed copies best.
        threshold: cosine from which on two samples are copies; without it the one that parts
            changed copies from the nearest strangers with the fewest mistakes.
        seed: of the changed copies.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: fewer than two samples, or kinds of samples that have no changed copies and
            no threshold.
    """
    # Copies have nothing to do with classes: what is chosen finds changed copies.
    found, card = _described(network, replace(samples, targets={}), layers, seed, progress)
    told = f"given: cosine {threshold}"
    if threshold is None:
        near = found.vectors @ found.vectors.T
        near = near.fill_diagonal_(-torch.inf)
        # A copy in the data is no stranger: what is nearly equal does not count as one.
        strangers = near.masked_fill(near > 0.999, -torch.inf).amax(1)
        asked = _places(samples, found)[:_TRIED]
        queries, _ = changed(samples.take(asked), seed=seed)
        again = describe(network, queries, card)
        rows = {key: row for row, key in enumerate(queries.keys)}
        of = [found.keys.index(samples.keys[asked[rows[key]]]) for key in again.keys]
        same = (again.vectors * found.vectors[of]).sum(1)
        threshold, share, wrong = parting(same, strangers[strangers.isfinite()])
        told = (
            f"found by trying: cosine {threshold:.3f} finds {share:.0%} of changed copies and "
            f"takes {wrong:.0%} of the samples for a copy of their nearest stranger"
        )
    labels = copies(found.vectors, threshold=threshold)
    lists = [row for row in _lists(labels, found.vectors) if len(row) > 1]
    surplus = sum(len(row) - 1 for row in lists)
    words = (
        f"{surplus} of {len(found.keys)} samples are copies of others, in {len(lists)} groups, by "
        f"{' + '.join(card.layers)} (the threshold was {told})."
    )
    return _sorted(samples, found, lists, words)


def cluster(
    network: Network,
    samples: Samples,
    *,
    layers: str = "auto",
    count: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sorted:
    """Divide samples into groups of a kind.

    Args:
        network: reads the samples.
        samples: what is divided.
        layers: addresses or patterns; `auto` takes those that a search does best with.
        count: how many groups; without it the number up to 20 with the best silhouette.
        seed: of the first centres.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: fewer samples than groups.
    """
    found, card = _described(network, samples, layers, seed, progress)
    made = groups(found.vectors, count=count, seed=seed)
    lists = _lists(made.labels, found.vectors)
    words = (
        f"{len(lists)} groups of {len(found.keys)} samples by {' + '.join(card.layers)}; "
        f"silhouette {made.silhouette:.3f} (1 parts them fully, 0 not at all)."
    )
    return _sorted(samples, found, lists, words)


def _described(
    network: Network, samples: Samples, layers: str, seed: int, progress: Progress | None
) -> tuple[Described, Card]:
    if len(samples) < 2:
        raise LayerwiseError(f"{len(samples)} samples of {samples.source!r}; give 2 or more")
    with tempfile.TemporaryDirectory() as folder:
        card = new_card(
            network,
            samples,
            Path(folder),
            layers=layers,
            target=None,
            seed=seed,
            progress=progress,
        )
    return describe(network, samples, card), card


def _places(samples: Samples, found: Described) -> list[int]:
    place = {key: row for row, key in enumerate(samples.keys)}
    return [place[key] for key in found.keys]


def _lists(labels: Tensor, vectors: Float[Tensor, "n d"]) -> list[list[int]]:
    """Rows of each group, those nearest to its middle first; the largest group first."""
    lists = []
    for group in range(int(labels.max()) + 1):
        rows = (labels == group).nonzero().flatten()
        middle = vectors[rows].mean(0)
        order = (vectors[rows] @ middle).argsort(descending=True, stable=True)
        lists.append(rows[order].tolist())
    return sorted(lists, key=len, reverse=True)


def _sorted(samples: Samples, found: Described, lists: list[list[int]], words: str) -> Sorted:
    return Sorted(
        samples=samples.take(_places(samples, found)),
        rows=tuple(map(tuple, lists)),
        names=tuple(tuple(found.names[row] for row in rows) for rows in lists),
        words=words,
        set_aside=found.set_aside,
    )
