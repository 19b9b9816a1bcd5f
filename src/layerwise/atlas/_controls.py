"""What an honest survey gives where there is nothing to find, and what training added.

Training answers are permuted: what a readout still scores then is chance. The same
architecture with random weights is read on some of the samples, and the trained network is judged
once more on just these, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Control
from layerwise.atlas._choose import Key, Standing
from layerwise.data import Samples, Split, Target
from layerwise.features import Column, First, GeM, Last, Max, Mean
from layerwise.measures import LinearReadout, bootstrap_mean, probe
from layerwise.models import Network, randomised
from layerwise.taps import pooling
from layerwise.taps._channels_last import channels_last, channels_last_helps
from layerwise.taps._folded import folded

_SAMPLES = (128, 256)
"""At least and at most; between them a twelfth of all, so that the control costs no more."""
_BATCH = 8
_FEWEST = 4
_READOUT = LinearReadout()
_ON_FEW = LinearReadout(penalties=(100.0, 10.0, 1.0))
"""Among few samples a penalty counts for more."""


def drawn(rows: Sequence[int], seed: int) -> list[int]:
    """The samples that the network with random weights is read on."""
    generator = torch.Generator().manual_seed(seed)
    few, many = _SAMPLES
    count = max(few, min(many, len(rows) // 12))
    return sorted(rows[i] for i in torch.randperm(len(rows), generator=generator)[:count].tolist())


def untrained(
    network: Network, samples: Samples, rows: Sequence[int], columns: Sequence[Column], seed: int
) -> dict[Key, Float[Tensor, "n d"]]:
    """Features of the same architecture with random weights, for some samples."""
    prepared = [network.prepare(samples.load(row)) for row in rows]
    batches = [network.batch(prepared[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)]
    other = randomised(network, seed=seed, inputs=batches[0])
    known = {way.name: way for way in (Mean(), First(), Last(), Max(), GeM())}
    layers = list(dict.fromkeys(column.layer for column in columns))
    poolings = {
        layer: [known[column.pooling] for column in columns if column.layer == layer]
        for layer in layers
    }
    with pooling(other, layers, poolings) as pooled:
        run = folded(other, pooled, layers)
        reorder = channels_last_helps(other, run)
        parts = [run(channels_last(inputs) if reorder else inputs) for inputs in batches]
    return {
        (network.name, layer, way): torch.cat([part[layer, way] for part in parts]).cpu()
        for layer, way in parts[0]
    }


def controls(
    target: Target,
    standing: Standing,
    *,
    trained: Mapping[Key, Float[Tensor, "n _"]],
    random: Mapping[Key, Float[Tensor, "m _"]],
    rows: Sequence[int],
    split: Split,
    generator: torch.Generator,
) -> tuple[Control, ...]:
    """The controls of one target for every layer, by its linear readout.

    Args:
        target: what was read.
        standing: the real readings, with what permuted answers gave.
        trained: all features.
        random: features of the random networks, for `rows` only.
        rows: samples that the random networks read.
        split: the first seed's.
        generator: draws the resamples.
    """
    chance = bootstrap_mean(standing.permuted, generator=generator)
    few = {key: values[list(rows)] for key, values in trained.items()}
    untrained_scores = _on_few(target, random, rows, split)
    trained_scores = _on_few(target, few, rows, split)
    return tuple(
        Control(
            target=target.name,
            network=reading.layer[0],
            layer=reading.layer[1],
            pooling=reading.layer[2],
            permuted=float(chance.value[i]),
            permuted_low=float(chance.low[i]),
            permuted_high=float(chance.high[i]),
            random_weights=untrained_scores.get(reading.layer),
            trained=trained_scores.get(reading.layer),
            samples=len(rows) if trained_scores else 0,
        )
        for i, reading in enumerate(standing.readings)
        if reading.readout == _READOUT.name
    )


def _on_few(
    target: Target, features: Mapping[Key, Tensor], rows: Sequence[int], split: Split
) -> dict[Key, float]:
    """Test scores of the linear readout on some of the samples, none where they are too few."""
    sides = [set(side.tolist()) for side in (split.train, split.validation, split.test)]
    few = [torch.tensor([i for i, row in enumerate(rows) if row in side]).long() for side in sides]
    answers = target.take(rows)
    if min(map(len, few)) < _FEWEST or len(answers.values[few[0]].unique()) < 2:
        return {}
    small = Split(few[0], few[1], few[2])
    table = probe(features, answers, small, readouts=(_ON_FEW,), permutations=1)
    scores = table.test.scores.tolist()
    return {reading.layer: score for reading, score in zip(table.readings, scores, strict=True)}
