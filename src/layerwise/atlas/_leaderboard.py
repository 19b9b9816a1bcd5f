"""Every network, layer, pooling and readout for one target, side by side with its price.

Validation ranks, test reports, and the bootstrap over validation samples says which candidates
cannot be told from the best one within the budget. The front holds the candidates that none beats
in both validation score and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from layerwise.atlas._candidate import Candidate
from layerwise.atlas._choose import Key, Standing, stand
from layerwise.atlas._price import UNBOUNDED, Budget, Price
from layerwise.atlas._reader import Progress
from layerwise.data import Samples, few_shot, split
from layerwise.errors import LayerwiseError, unknown
from layerwise.measures import probe
from layerwise.models import Network
from layerwise.taps import Extraction, extract
from layerwise.taps._saving import milliseconds

_BATCHES = (1, 32)
_REPEATS = 3
_ENOUGH = 500.0
"""Milliseconds of one batch size after which it is not timed again."""


def leaderboard(
    standing: Standing,
    prices: Mapping[tuple[str, str], Price],
    *,
    budget: Budget,
    generator: torch.Generator,
) -> tuple[Candidate, ...]:
    """Rank all readings of one target, the best affordable one first.

    Args:
        standing: the readings.
        prices: by network and layer.
        budget: what may be spent.
        generator: draws the resamples.
    """
    found = []
    for score in standing.scores:
        price = prices[score.network, score.layer]
        found.append(
            Candidate(
                score.target,
                score.network,
                score.layer,
                score.pooling,
                score.readout,
                score.validation,
                score.test,
                score.low,
                score.high,
                (price.alone, price.together),
                price.parameters,
                price.bytes,
                budget.allows(price),
                level=False,
                front=False,
            )
        )
    order = sorted(range(len(found)), key=lambda i: (-found[i].affordable, -found[i].validation))
    best = order[0]
    lead = standing.validation.lead(best, groups=standing.chosen_by, generator=generator)
    front = _front(found)
    return tuple(
        replace(
            found[i],
            level=found[i].affordable and (i == best or not float(lead.low[i]) > 0),
            front=i in front,
        )
        for i in order
    )


def prices(network: Network, samples: Samples) -> dict[tuple[str, str], Price]:
    """Price of every layer of a network, timed on real samples.

    The whole forward is timed in batches of one and of 32; each layer has its share of it.

    Args:
        network: the network.
        samples: all can be read.
    """
    prepared = [network.prepare(samples.load(i)) for i in range(min(len(samples), _BATCHES[1]))]
    whole = []
    for size in (1, len(prepared)):
        inputs = network.batch(prepared[:size])
        milliseconds(network.module, inputs)  # the first run warms up
        taken = [milliseconds(network.module, inputs)]
        while len(taken) < _REPEATS and sum(taken) < _ENOUGH:
            taken.append(milliseconds(network.module, inputs))
        whole.append(median(taken) / size)
    number = sum(p.numel() for p in network.module.parameters())
    size = sum(p.numel() * p.element_size() for p in network.module.parameters())
    return {
        (network.name, layer.name): Price(
            whole[0] * layer.share_before,
            whole[1] * layer.share_before,
            layer.parameters_before,
            round(layer.parameters_before * size / max(1, number)),
        )
        for layer in network.layers
    }


def rank(
    networks: Sequence[Network],
    samples: Samples,
    target: str,
    *,
    store: Path,
    layers: str = "blocks",
    shots: int | None = None,
    seed: int = 0,
    budget: Budget = UNBOUNDED,
    progress: Progress | None = None,
) -> tuple[tuple[Candidate, ...], dict[str, Extraction]]:
    """Read some networks and rank what could read a target; the short form of a survey.

    Args:
        networks: with different names.
        samples: with the target.
        target: its name.
        store: folder that features are kept in, so that an interrupted run goes on.
        layers: addresses or patterns of what to try.
        shots: samples of each class that fit, and at most that choose; all of them without it.
        seed: of the split.
        budget: what may be spent.
        progress: called as `progress(stage, done, total)`.

    Returns:
        The candidates, the best affordable one first, and what was extracted, by network.

    Raises:
        LayerwiseError: two networks of one name, no such target, nothing within the budget.
    """
    if target not in samples.targets:
        raise unknown("target", target, samples.targets)
    if not networks or len({network.name for network in networks}) < len(networks):
        given = ", ".join(network.name for network in networks) or "none"
        raise LayerwiseError(f"networks {given}: give at least one, and each name only once")
    done = {
        network.name: extract(
            network, samples, store / f"{i}.lance", layers=layers, progress=progress
        )
        for i, network in enumerate(networks)
    }
    stored = [extraction.store.keys() for extraction in done.values()]
    rows = [i for i, key in enumerate(samples.keys) if all(key in keys for keys in stored)]
    known = samples.take(rows)
    features: dict[Key, torch.Tensor] = {
        (name, column.layer, column.pooling): extraction.store.load(
            column.name, keys=known.keys
        ).float()
        for name, extraction in done.items()
        for column in extraction.store.columns
    }
    priced = {at: price for network in networks for at, price in prices(network, known).items()}
    read = {key[:2]: priced[key[:2]] for key in features}
    budget.require_something(read, target)
    if progress is not None:
        progress("comparing", 0, 1)
    divided = split(known, target, seed=seed)
    if shots is not None:
        divided = few_shot(divided, known.targets[target], shots=shots, seed=seed)
    table = probe(features, known.targets[target], divided, permutations=1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    standing = stand(known.targets[target], known.keys, [table], generator)
    ranked = leaderboard(standing, priced, budget=budget, generator=generator)
    if progress is not None:
        progress("comparing", 1, 1)
    return ranked, done


def _front(found: Sequence[Candidate]) -> set[int]:
    """Those that nobody beats in both score and time, without being worse in one."""
    order = sorted(
        range(len(found)), key=lambda i: (found[i].milliseconds[0], -found[i].validation)
    )
    front: set[int] = set()
    most = -torch.inf
    for i in order:
        if found[i].validation > most:
            front.add(i)
            most = found[i].validation
    return front
