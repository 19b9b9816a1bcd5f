"""What an honest survey gives where there is nothing to find, and what training added.

Labels are permuted within the training side: what a readout still scores then is chance. The same
architecture with random weights is read on some of the samples, and the trained network is judged
once more on just these, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Control
from layerwise.atlas._candidates import Key, attempt
from layerwise.atlas._choose import Standing, resampled
from layerwise.data import Samples, Split, Target
from layerwise.features import Column, First, GeM, Last, Max, Mean
from layerwise.models import Network, randomised
from layerwise.taps import pool

_SAMPLES = 256
_BATCH = 16


def drawn(rows: Sequence[int], seed: int) -> list[int]:
    """The samples that the network with random weights is read on."""
    generator = torch.Generator().manual_seed(seed)
    return sorted(
        rows[i] for i in torch.randperm(len(rows), generator=generator)[:_SAMPLES].tolist()
    )


def untrained(
    network: Network, samples: Samples, rows: Sequence[int], columns: Sequence[Column], seed: int
) -> dict[Key, Float[Tensor, "n d"]]:
    """Features of the same architecture with random weights, for some samples."""
    prepared = [network.prepare(samples.load(row)) for row in rows]
    batches = [network.batch(prepared[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)]
    other = randomised(network, seed=seed, inputs=batches[0])
    known = {pooling.name: pooling for pooling in (Mean(), First(), Last(), Max(), GeM())}
    layers = list(dict.fromkeys(column.layer for column in columns))
    poolings = {
        layer: [known[column.pooling] for column in columns if column.layer == layer]
        for layer in layers
    }
    parts = [pool(other, inputs, layers, poolings) for inputs in batches]
    return {
        (network.name, layer, pooling): torch.cat([part[layer, pooling] for part in parts]).cpu()
        for layer, pooling in parts[0]
    }


def controls(
    target: Target,
    standing: Standing,
    *,
    trained: Mapping[Key, Float[Tensor, "n _"]],
    random: Mapping[Key, Float[Tensor, "n _"]],
    rows: Sequence[int],
    split: Split,
    generator: torch.Generator,
) -> tuple[Control, ...]:
    """The controls of one target for every layer.

    Args:
        target: what was read.
        standing: the real candidates, with what permuted labels gave.
        trained: all features.
        random: features of the random networks, for `rows` only.
        rows: samples that the random networks read.
        split: the first seed's.
        generator: draws the resamples.
    """
    chance = standing.permuted
    low, high = resampled(chance, generator).quantile(torch.tensor([0.025, 0.975]).double(), 0)
    scores = _on_few(target, trained, random, rows, split)
    return tuple(
        Control(
            target=target.name,
            network=key[0],
            layer=key[1],
            pooling=key[2],
            permuted=float(chance.scores[i]),
            permuted_low=float(low[i]),
            permuted_high=float(high[i]),
            random_weights=scores.get(("random", key)),
            trained=scores.get(("trained", key)),
            samples=len(rows) if scores else 0,
        )
        for i, key in enumerate(trained)
    )


def _on_few(
    target: Target,
    trained: Mapping[Key, Tensor],
    random: Mapping[Key, Tensor],
    rows: Sequence[int],
    split: Split,
) -> dict[tuple[str, Key], float]:
    """Test scores of the best linear readout of both networks on the same few samples."""
    sides = {side: set(getattr(split, side).tolist()) for side in ("train", "validation", "test")}
    few = {
        name: torch.tensor([i for i, row in enumerate(rows) if row in side], dtype=torch.int64)
        for name, side in sides.items()
    }
    enough = all(len(side) >= 4 for side in few.values())
    if not enough or len(target.take(rows).values[few["train"]].unique()) < 2:
        return {}
    small = Split(few["train"], few["validation"], few["test"])
    answers = target.take(rows)
    who = torch.arange(len(rows))
    scores = {}
    for name, features in (
        ("random", random),
        ("trained", {key: values[list(rows)] for key, values in trained.items()}),
    ):
        trial = attempt(features, answers, small, who, seed=0)
        chosen, reported = trial.validation.scores, trial.test.scores
        for key in features:
            mine = [
                i for i, c in enumerate(trial.candidates) if (c.network, c.layer, c.pooling) == key
            ]
            best = max(mine, key=lambda i: float(chosen[i]))
            scores[name, key] = float(reported[best])
    return scores
