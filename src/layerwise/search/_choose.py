"""Which layers, poolings and combination a search does best with, tried on samples of its own.

Every candidate is judged by mean average precision: with labels each sample is looked up among the
others (leave one out; its group and its copies do not count), without labels a changed copy of each
sample is looked up among all samples. The best single candidate is joined by others as long as
that helps, and whitened where that helps on samples that the whitening has not seen. Samples that
took no part in the choice then say what it gains over the last layer, which is given its own best
pooling by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.search._average_precision import average_precision
from layerwise.search._descriptor import Descriptor

_JOINED, _HELPS, _WHITENING_HELPS = 3, 0.002, 0.005
_WIDEST = 256


@final
@dataclass(frozen=True)
class Trial:
    """Samples that are looked up among items.

    Args:
        queries: features of each query, by candidate.
        items: features of each item, by candidate.
        relevant: which items answer a query.
        allowed: which items a query may find at all.
    """

    queries: Mapping[str, Float[Tensor, "m _"]]
    items: Mapping[str, Float[Tensor, "n _"]]
    relevant: Bool[Tensor, "m n"]
    allowed: Bool[Tensor, "m n"]

    def similarity(self, name: str) -> Float[Tensor, "m n"]:
        """Cosine of queries and items for a candidate."""
        units = [
            nn.functional.normalize(x[name].float(), dim=1) for x in (self.queries, self.items)
        ]
        return units[0] @ units[1].T

    def precision(self, similarity: Float[Tensor, "m n"]) -> Float[Tensor, " q"]:
        """Average precision of the queries that have an answer."""
        scores = similarity.masked_fill(~self.allowed, -torch.inf)
        answered = (self.relevant & self.allowed).any(1)
        return average_precision(scores[answered], (self.relevant & self.allowed)[answered])

    def first(self, similarity: Float[Tensor, "m n"]) -> float:
        """Share of the queries whose first item is right (recall at 1)."""
        scores = similarity.masked_fill(~self.allowed, -torch.inf)
        answered = (self.relevant & self.allowed).any(1)
        best = scores.argmax(1, keepdim=True)
        return self.relevant.gather(1, best)[answered].float().mean().item()

    def half(self, *, second: bool) -> Trial:
        """Every other query and item."""
        start = int(second)
        asked = {name: rows[start::2] for name, rows in self.queries.items()}
        items = {name: rows[start::2] for name, rows in self.items.items()}
        part = (slice(start, None, 2), slice(start, None, 2))
        return Trial(asked, items, self.relevant[part], self.allowed[part])


@final
@dataclass(frozen=True)
class Choice:
    """What was chosen, and what it gains.

    Args:
        names: of the chosen candidates, the best first.
        whitened: directions that are kept by whitening; 0 without it.
        last: the candidate of the last layer that it is compared with.
        by: what was looked up, in words.
        chosen_on: queries that chose.
        scored_on: other queries, which the numbers are from.
        precision: mean average precision of the choice.
        precision_last: the same of the last layer.
        low: lower end of the 95 % interval of the gain in mean average precision.
        high: upper end.
        first: share of queries whose first item is right.
        first_last: the same of the last layer.
    """

    names: tuple[str, ...]
    whitened: int
    last: str
    by: str
    chosen_on: int
    scored_on: int
    precision: float
    precision_last: float
    low: float
    high: float
    first: float
    first_last: float

    @property
    def words(self) -> str:
        """The choice in two sentences."""
        white = f", whitened to {self.whitened} directions" if self.whitened else ""
        gain = self.precision - self.precision_last
        return (
            f"{' + '.join(self.names)}{white}: mean average precision {self.precision:.3f} and "
            f"{self.first:.3f} right at first, in {self.by} with {self.scored_on} samples that "
            f"did not choose it. The last layer, {self.last}, gives {self.precision_last:.3f} and "
            f"{self.first_last:.3f}: a gain of {gain:+.3f} ({self.low:+.3f} to {self.high:+.3f})."
        )


def choose(
    trial: Trial, other: Trial, *, last: Sequence[str], by: str
) -> tuple[Choice, Descriptor]:
    """Choose candidates on one trial, and say on another what they gain.

    Args:
        trial: what chooses.
        other: what scores, with the same candidates and none of the same samples.
        last: candidates of the last layer.
        by: what is looked up, in words.

    Raises:
        LayerwiseError: no query of a trial has an answer.

    Example:
        >>> labels = torch.arange(40) % 2
        >>> good = torch.eye(2)[labels] + 0.1 * torch.randn(40, 2)
        >>> alike, alone = labels == labels[:, None], ~torch.eye(40, dtype=torch.bool)
        >>> rows = {"good": good, "last": torch.randn(40, 2)}
        >>> choice, _ = choose(Trial(rows, rows, alike, alone), Trial(rows, rows, alike, alone),
        ...                    last=["last"], by="a try")
        >>> choice.names[0], choice.precision > choice.precision_last
        ('good', True)
    """
    for each in (trial, other):
        if not bool((each.relevant & each.allowed).any()):
            raise LayerwiseError(
                "no sample has another one that belongs to it; give more samples of each class, or "
                "name the layers"
            )
    scores = {name: trial.precision(trial.similarity(name)).mean().item() for name in trial.queries}
    names = [max(scores, key=scores.__getitem__)]
    total, best = trial.similarity(names[0]), scores[names[0]]
    while len(names) < min(_JOINED, len(scores)):
        tried = {}
        for name in scores.keys() - set(names):
            joined = (len(names) * total + trial.similarity(name)) / (len(names) + 1)
            tried[name] = trial.precision(joined).mean().item()
        name = max(sorted(tried), key=tried.__getitem__)
        if tried[name] < best + _HELPS:
            break
        total = (len(names) * total + trial.similarity(name)) / (len(names) + 1)
        names, best = [*names, name], tried[name]
    descriptor = _whitened(trial, Descriptor(names))
    baseline = Descriptor([max(last, key=scores.__getitem__)])
    return _scored(trial, other, descriptor, baseline, by), descriptor


def _whitened(trial: Trial, descriptor: Descriptor) -> Descriptor:
    """The descriptor with whitening, if that helps on samples the whitening has not seen."""
    seen, unseen = trial.half(second=False), trial.half(second=True)
    rows = descriptor(seen.items)
    keep = min(_WIDEST, rows.shape[1], len(rows) // 2)
    if keep < 2 or not bool((unseen.relevant & unseen.allowed).any()):
        return descriptor
    tried = Descriptor(descriptor.names, Whiten.fit(rows, keep=keep, shrink=0.1))
    plain, white = (unseen.precision(_products(d, unseen)).mean() for d in (descriptor, tried))
    if white < plain + _WHITENING_HELPS:
        return descriptor
    return Descriptor(descriptor.names, Whiten.fit(descriptor(trial.items), keep=keep, shrink=0.1))


def _scored(
    trial: Trial, other: Trial, descriptor: Descriptor, baseline: Descriptor, by: str
) -> Choice:
    found, last = (_products(each, other) for each in (descriptor, baseline))
    precision, precision_last = other.precision(found), other.precision(last)
    gain = precision - precision_last
    margin = 1.96 * gain.std().item() / len(gain) ** 0.5 if len(gain) > 1 else float("inf")
    return Choice(
        names=descriptor.names,
        whitened=0 if descriptor.whiten is None else descriptor.whiten.weight.shape[1],
        last=baseline.names[0],
        by=by,
        chosen_on=len(trial.relevant),
        scored_on=len(precision),
        precision=precision.mean().item(),
        precision_last=precision_last.mean().item(),
        low=gain.mean().item() - margin,
        high=gain.mean().item() + margin,
        first=other.first(found),
        first_last=other.first(last),
    )


def _products(descriptor: Descriptor, trial: Trial) -> Float[Tensor, "m n"]:
    return descriptor(trial.queries) @ descriptor(trial.items).T
