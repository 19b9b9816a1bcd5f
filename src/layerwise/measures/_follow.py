"""Follows layers while a network is trained: what they tell, how they spread, how far they moved.

Every few steps the same samples run through the network as it is then, in evaluation mode, and what
chosen layers hold is measured: the score of a linear probe (ridge regression with every sample
predicted by a fit that left it out), effective rank, collapse of the classes (CDNV) and CKA to the
state at the first reading. Training does not feel it: modes, gradients and random states are as
before. It costs one forward of the samples and some closed forms; in `benchmarks/follow.py` less
than 3 % of the time when it reads at every 100th step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features import Mean, Ridge
from layerwise.measures._cka import cka
from layerwise.measures._effective_rank import effective_rank
from layerwise.models import Network
from layerwise.taps import pool

_FEWEST = 8


@final
@dataclass(frozen=True)
class Followed:
    """One layer at one step. What is not defined is NaN, as probes without labels are.

    Args:
        step: of the training.
        layer: its address.
        probe: share of the samples whose class a linear probe tells.
        rank: effective rank of the samples.
        collapse: variance within two classes over the distance of their means, mean over pairs.
        alike: CKA to the layer at the first reading.
        seconds: that the whole reading took, of all layers together.
    """

    step: int
    layer: str
    probe: float
    rank: float
    collapse: float
    alike: float
    seconds: float


@final
class Follow:
    """Call `step` after every step of the training; `rows` holds what was read.

    `for_lightning` and `for_trainer` make callbacks of it, `layerwise.report.draw_training` a
    picture.

    Args:
        network: what is trained, as `layerwise.open` gives it of your module.
        inputs: some samples to look at, 100 to 500, always the same.
        labels: their classes, for probe and collapse.
        layers: addresses or patterns.
        every: number of steps between readings.

    Raises:
        LayerwiseError: fewer than 8 samples, labels that do not match, `every` below 1, or no such
            layer.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> follow = Follow(network, torch.randn(40, 4), layers="0, 1", every=2)
        >>> for _ in range(4):
        ...     follow.step()  # after optimizer.step()
        >>> [(row.step, row.layer) for row in follow.rows]
        [(0, '0'), (0, '1'), (2, '0'), (2, '1'), (4, '0'), (4, '1')]
    """

    def __init__(
        self,
        network: Network,
        inputs: Tensor | Mapping[str, Tensor],
        *,
        labels: Int[Tensor, " n"] | None = None,
        layers: str | Iterable[str] = "stages",
        every: int = 100,
    ) -> None:
        count = len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)
        if count < _FEWEST:
            raise LayerwiseError(f"{count} samples to follow; give at least {_FEWEST}")
        if labels is not None and (len(labels) != count or len(labels.unique()) < 2):
            raise LayerwiseError(
                f"{len(labels)} labels of {len(labels.unique())} classes for {count} samples; give "
                "one for each, of at least two classes"
            )
        if every < 1:
            raise LayerwiseError(f"every={every} steps; give at least 1")
        network.take_example(inputs)
        self.network = network
        self.inputs = inputs
        self.labels = labels
        self.every = every
        self.layers = tuple(layer.name for layer in network.layers.select(layers))
        self.rows: list[Followed] = []
        self._step = 0
        self._start: dict[str, Tensor] = {}
        self.read(0)

    def step(self) -> None:
        """One more step of the training is done."""
        self._step += 1
        self.at(self._step)

    def at(self, step: int) -> None:
        """So many steps of the training are done; it is read if it is time."""
        self._step = step
        if step % self.every == 0:
            self.read(step)

    def read(self, step: int) -> None:
        """Read all layers now; a step that was read already is left."""
        if any(row.step == step for row in self.rows):
            return
        start = perf_counter()
        pooled = pool(self.network, self.inputs, self.layers, [Mean()])
        found = {name: pooled[name, "mean"] for name in self.layers}
        if not self._start:
            self._start = {name: values.clone() for name, values in found.items()}
        measured = {name: self._measured(name, values) for name, values in found.items()}
        taken = perf_counter() - start
        self.rows += [
            Followed(step, name, *numbers, seconds=taken) for name, numbers in measured.items()
        ]

    def _measured(
        self, name: str, values: Float[Tensor, "n d"]
    ) -> tuple[float, float, float, float]:
        if not bool(values.isfinite().all()):  # a training that diverged is to be seen, not to stop
            return 4 * (torch.nan,)
        probe = collapse = torch.nan
        if self.labels is not None:
            labels = self.labels.to(values.device)
            probe, collapse = _probe(values, labels), _cdnv(values, labels)
        alike = float(cka(self._start[name], values)[0, 0])
        return probe, float(effective_rank(values)), collapse, alike


def _probe(values: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> float:
    """Share of samples that ridge regression tells when it is fitted without them."""
    classes, index = labels.unique(return_inverse=True)
    aims = torch.nn.functional.one_hot(index, len(classes)).to(values)
    ridge = Ridge.fit(values, aims, penalties=[len(values) * p for p in (1e-3, 1e-1, 10.0)])
    return float((ridge.loo[ridge.best()].argmax(1) == index).double().mean())


def _cdnv(values: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> float:
    """As in `neural_collapse`, which measures much besides that would take its time."""
    classes, index, counts = labels.unique(return_inverse=True, return_counts=True)
    means = values.new_zeros(len(classes), values.shape[1]).index_add(0, index, values)
    means = means / counts[:, None]
    spread = (values - means[index]).square().sum(1)
    within = spread.new_zeros(len(classes)).index_add(0, index, spread) / counts
    first, second = torch.triu_indices(len(classes), len(classes), 1, device=values.device)
    apart = (means[first] - means[second]).square().sum(1)
    return float(((within[first] + within[second]) / 2 / apart).mean())
