"""Everything that could be the answer, with what it got wrong, sample by sample.

A readout is fitted on training samples only, with every penalty; its penalty is chosen on the
validation samples, and it is asked once about the test samples. All readouts on all layers answer
for the same samples, so that they can be compared sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.data import Split, Target
from layerwise.features import Ridge
from layerwise.search import Logistic, NearestMean, Neighbours

Key = tuple[str, str, str]
"""Network, layer and pooling."""

_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_NEIGHBOURS = (1, 5, 20)
_NARROW = 64
_CLOSE = 0.1


@final
@dataclass(frozen=True)
class Errors:
    """What readouts got wrong on the samples of one side, in units in which knowing nothing is 1.

    The score is `1 - sum(wrong) / sum(base)`: accuracy where `base` is 1 and `wrong` 0 or 1, and
    R2 where they are squared distances from the prediction and from the mean.

    Args:
        wrong: `[n c]` for each sample and candidate.
        base: `[n]`.
        who: `[n]` which group of related samples each belongs to, for resampling.
    """

    wrong: Float[Tensor, "n c"]
    base: Float[Tensor, " n"]
    who: Tensor

    @property
    def scores(self) -> Float[Tensor, " c"]:
        """One score a candidate."""
        return 1 - self.wrong.sum(0) / self.base.sum().clamp_min(1e-12)

    @classmethod
    def joined(cls, parts: Sequence[Errors]) -> Errors:
        """The sides of several seeds as one."""
        return cls(
            torch.cat([p.wrong for p in parts]),
            torch.cat([p.base for p in parts]),
            torch.cat([p.who for p in parts]),
        )


@final
@dataclass(frozen=True)
class Candidate:
    """A readout of a layer: `penalty` is the one that validation chose, where there is one."""

    network: str
    layer: str
    pooling: str
    readout: str
    penalty: float | None


@final
@dataclass(frozen=True)
class Trial:
    """All candidates on one split: what they got wrong where it chooses and where it reports."""

    candidates: tuple[Candidate, ...]
    validation: Errors
    test: Errors
    permuted: Errors
    """Linear readouts of permuted training labels, one a layer, on the test samples."""


def attempt(
    features: Mapping[Key, Float[Tensor, "n _"]],
    target: Target,
    split: Split,
    who: Tensor,
    seed: int,
) -> Trial:
    """Fit every readout on every layer.

    Ridge screens; logistic regression, which costs more and does better on few channels, is fitted
    where ridge comes near the best layer and wherever the layer is narrow.

    Args:
        features: `[n d]` for each network, layer and pooling.
        target: what to read.
        split: who fits, who chooses and who reports.
        who: `[n]` group of each sample.
        seed: of the permuted labels.
    """
    answers = _Answers(target, split)
    sides = (split.train, split.validation, split.test)
    parts = {key: [values[side] for side in sides] for key, values in features.items()}
    linear = {key: _linear(part, answers, seed) for key, part in parts.items()}
    marked: dict[Key, list[Marked]] = {key: [mark] for key, (mark, _) in linear.items()}
    least = min(float(mark[2][0].mean()) for mark, _ in linear.values())
    for key, part in parts.items():
        if target.kind == "class":
            close = float(marked[key][0][2][0].mean()) <= least + _CLOSE
            if close or part[0].shape[1] <= _NARROW:
                marked[key].append(_logistic(part, answers))
            marked[key].append(_nearest_mean(part, answers))
        marked[key].append(_neighbours(part, answers))
    flat = [(key, mark) for key, marks in marked.items() for mark in marks]
    validation, test = (
        Errors(torch.stack([mark[2][i] for _, mark in flat], 1), answers.base(side), who[side])
        for i, side in enumerate(sides[1:])
    )
    chance = torch.stack([chance for _, chance in linear.values()], 1)
    return Trial(
        tuple(Candidate(*key, mark[0], mark[1]) for key, mark in flat),
        validation,
        test,
        Errors(chance, answers.base(split.test), who[split.test]),
    )


@final
class _Answers:
    """The right answers of one target on one split, and how answers are marked."""

    def __init__(self, target: Target, split: Split) -> None:
        self.target, self.split = target, split
        self.train = target.values[split.train]
        self.sides = [target.values[side] for side in (split.validation, split.test)]

    def columns(self) -> Float[Tensor, "n k"]:
        """The training answers as numbers to be predicted."""
        if self.target.kind == "number":
            return self.train.double()[:, None]
        return torch.nn.functional.one_hot(self.train, len(self.target.classes)).double()

    def wrong(self, side: int, predicted: Tensor) -> Tensor:
        """`[... n]` errors of predictions for one side: labels, or numbers."""
        if self.target.kind == "class":
            return (predicted != self.sides[side]).double()
        return (predicted.double() - self.sides[side]).square()

    def base(self, side: Tensor) -> Float[Tensor, " n"]:
        """Errors of knowing nothing but the mean; 1 for classes."""
        values = self.target.values[side].double()
        if self.target.kind == "class":
            return torch.ones_like(values)
        return (values - values.mean()).square()

    def named(self, outputs: Float[Tensor, "... k"]) -> Tensor:
        """Outputs as labels or numbers."""
        return outputs.argmax(-1) if self.target.kind == "class" else outputs[..., 0]


Marked = tuple[str, float | None, list[Tensor]]
"""A readout, the penalty that validation chose, and its errors on both sides."""


def _linear(parts: Sequence[Tensor], answers: _Answers, seed: int) -> tuple[Marked, Tensor]:
    """Ridge, and beside it, from the same decomposition, ridge on permuted labels."""
    columns = answers.columns()
    order = torch.randperm(len(columns), generator=torch.Generator().manual_seed(seed))
    ridge = Ridge.fit(parts[0], torch.cat([columns, columns[order]], 1))
    count = columns.shape[1]
    outputs = [ridge(part).double() for part in parts[1:]]
    errors = [answers.wrong(i, answers.named(out[..., :count])) for i, out in enumerate(outputs)]
    best = int(errors[0].mean(1).argmin())
    permuted = ridge.best(range(count, 2 * count))
    chance = answers.wrong(1, answers.named(outputs[1][permuted, :, count:]))
    return ("ridge", float(ridge.penalties[best]), [e[best] for e in errors]), chance


def _logistic(parts: Sequence[Tensor], answers: _Answers) -> Marked:
    logistic = Logistic.fit(parts[0], answers.train, penalties=_PENALTIES, tolerance=1e-4)
    errors = [answers.wrong(i, logistic.predict(part)) for i, part in enumerate(parts[1:])]
    best = int(errors[0].mean(1).argmin())
    return "logistic", _PENALTIES[best], [e[best] for e in errors]


def _nearest_mean(parts: Sequence[Tensor], answers: _Answers) -> Marked:
    readout = NearestMean.fit(parts[0], answers.train)
    errors = [answers.wrong(i, readout.predict(part)) for i, part in enumerate(parts[1:])]
    return "nearest mean", None, errors


def _neighbours(parts: Sequence[Tensor], answers: _Answers) -> Marked:
    counts = [k for k in _NEIGHBOURS if k <= len(parts[0])]
    index = Neighbours.fit(parts[0])
    errors = []
    for side, part in enumerate(parts[1:]):
        found = index(part, count=counts[-1])
        if answers.target.kind == "class":
            predicted = found.classify(answers.train, counts=counts)
        else:
            predicted = found.regress(answers.train[:, None], counts=counts)[..., 0]
        errors.append(answers.wrong(side, predicted))
    best = int(errors[0].mean(1).argmin())
    return f"{counts[best]} nearest", None, [e[best] for e in errors]
