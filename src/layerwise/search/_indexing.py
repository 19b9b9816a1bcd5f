"""From samples and a network to an index on disk, and from a query to its vector.

The layers are read by `extract`, which an interruption costs nothing, and their joined vectors are
added in commits. What is in the index already is not read again. With `layers="auto"` the layers
are chosen first, on a part of the samples (see `_trying.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor

from layerwise.data import Samples, SetAside
from layerwise.errors import LayerwiseError
from layerwise.features import Mean, Store
from layerwise.models import Network
from layerwise.search._card import Card
from layerwise.search._index import Index
from layerwise.search._trying import CHOOSING, new_card
from layerwise.taps import extract
from layerwise.taps._columns import wanted
from layerwise.taps._extract import Progress, values_of

_AT_ONCE = 65_536


@final
@dataclass(frozen=True)
class Indexed:
    """What was done.

    Args:
        index: the index.
        card: what it is made with.
        added: new items.
        known: samples that were in it already.
        removed: items that were taken out because the data no longer hold them.
        set_aside: samples that could not be read, with the reason.
        recall: share of the true ten nearest that is found, where the search is approximate.
    """

    index: Index
    card: Card
    added: int
    known: int
    removed: int
    set_aside: tuple[SetAside, ...]
    recall: float | None


@final
@dataclass(frozen=True)
class Described:
    """Samples as vectors.

    Args:
        keys: of the samples that could be read.
        names: of the same.
        vectors: of the same, of length 1.
        set_aside: the others, with the reason.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    vectors: Float[Tensor, "n d"]
    set_aside: tuple[SetAside, ...]


def index_samples(
    network: Network,
    samples: Samples,
    out: str | os.PathLike[str],
    *,
    layers: str = "auto",
    target: str | None = None,
    sync: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Indexed:
    """Make an index of samples, or add them to one.

    Args:
        network: reads the samples; an index takes one network only.
        samples: what is to be found.
        out: folder of the index; made where there is none.
        layers: addresses or patterns, joined with the mean over their places; `auto` chooses
            layers, poolings and combination. An index that is there keeps its own.
        target: classes that say for `auto` which samples belong together; without it the first
            classes that the data have, or changed copies of the samples where they have none.
        sync: also take out what came from this source and is no longer in it.
        seed: chooses the samples that choose the layers.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: another network or other layers than those of the index, no such layer or
            target, too few samples to choose by, or the folder cannot be written.
    """
    folder = Path(out)
    card = Card.read(folder)
    if card is None:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / CHOOSING).exists():
            raise LayerwiseError(
                f"the folder {str(folder)!r} is not empty and holds no index; choose another --out"
            )
        card = new_card(
            network, samples, folder, layers=layers, target=target, seed=seed, progress=progress
        )
        card.write(folder)
    else:
        require_network(card, network, folder)
        if layers not in ("auto", "") and _read_columns(network, layers) != set(
            card.descriptor.names
        ):
            raise LayerwiseError(
                f"the index {str(folder)!r} is made of {', '.join(card.layers)}, not of "
                f"{layers!r}; leave the layers out, or choose another --out"
            )
    index = Index.open(folder, width=card.width, made_with=card.reading)
    there = index.keys()
    removed = 0
    if sync:
        gone = index.keys(source=origin(samples)) - set(samples.keys)
        removed = index.remove(gone)
    new = [row for row, key in enumerate(samples.keys) if key not in there]
    set_aside = _add(network, samples.take(new), card, index, progress)
    old = [row for row, key in enumerate(samples.keys) if key in there]
    if old:
        part = samples.take(old)
        told = {target.name: values_of(target) for target in part.targets.values()}
        index.tell(part.keys, part.names, targets=told, source=origin(samples))
    built = index.finish()
    for rest in (CHOOSING, "reading.lance"):
        shutil.rmtree(folder / rest, ignore_errors=True)
    return Indexed(
        index,
        card,
        len(new) - len(set_aside),
        len(old),
        removed,
        set_aside,
        built and built.recall,
    )


def describe(network: Network, samples: Samples, card: Card) -> Described:
    """Read samples as an index's vectors.

    Args:
        network: that of the index.
        samples: of the network's kind.
        card: what the index is made with.

    Raises:
        LayerwiseError: another network or another kind of samples.
    """
    require_network(card, network)
    with tempfile.TemporaryDirectory() as folder:
        done = extract(
            network,
            samples,
            f"{folder}/queries.lance",
            layers=card.layers,
            poolings=card.poolings,
            workers=0 if len(samples) < 64 else None,
        )
        there = set(done.store.keys())
        kept = [row for row, key in enumerate(samples.keys) if key in there]
        keys = tuple(samples.keys[row] for row in kept)
        rows = {name: done.store.load(name, keys) for name in card.descriptor.names}
    names = tuple(samples.names[row] for row in kept)
    return Described(keys, names, card.descriptor(rows), done.set_aside)


def origin(samples: Samples) -> str:
    """Where samples come from, valid in every working directory."""
    path = Path(samples.source)
    return str(path.resolve()) if path.exists() else samples.source


def require_network(card: Card, network: Network, folder: Path | None = None) -> None:
    """Refuse another network than the index was made with.

    Raises:
        LayerwiseError: its weights differ.
    """
    if network.weights_hash != card.reading.weights:
        where = f" {str(folder)!r}" if folder else ""
        raise LayerwiseError(
            f"the index{where} was made with {card.network or 'another network'} (weights "
            f"{card.reading.weights[:12]}), not with {network.name} ({network.weights_hash[:12]}); "
            "an index holds one network: choose another --out, or open that network"
        )


def _add(
    network: Network,
    samples: Samples,
    card: Card,
    index: Index,
    progress: Progress | None,
) -> tuple[SetAside, ...]:
    """Add vectors of samples: what was read to choose the layers is not read again."""
    known: set[str] = set()
    for store in map(Store.open, sorted((index.path / CHOOSING).glob("*.lance"))):
        if {column.name for column in store.columns} >= set(card.descriptor.names):
            _add_stored(samples, store, card, index)
            known |= set(store.keys())
    left = samples.take([row for row, key in enumerate(samples.keys) if key not in known])
    if len(left) == 0:
        return ()
    done = extract(
        network,
        left,
        index.path / "reading.lance",
        layers=card.layers,
        poolings=card.poolings,
        progress=progress,
    )
    _add_stored(left, done.store, card, index)
    return done.set_aside


def _add_stored(samples: Samples, store: Store, card: Card, index: Index) -> None:
    there = set(store.keys())
    kept = [row for row, key in enumerate(samples.keys) if key in there]
    for start in range(0, len(kept), _AT_ONCE):
        part = samples.take(kept[start : start + _AT_ONCE])
        rows = {name: store.load(name, part.keys) for name in card.descriptor.names}
        told = {target.name: values_of(target) for target in part.targets.values()}
        vectors = card.descriptor(rows)
        index.add(part.keys, part.names, vectors, targets=told, source=origin(samples))


def _read_columns(network: Network, layers: str) -> set[str]:
    return {column.name for column in wanted(network, layers, (Mean(),)).columns}
