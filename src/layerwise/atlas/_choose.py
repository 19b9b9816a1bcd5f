"""From what every candidate got wrong to an answer, with what the data cannot tell.

Validation samples choose: the best candidate, and the cheapest layer whose difference from it has a
95 % interval that reaches zero. Test samples only report. Intervals come from resampling whole
groups of related samples, the same draws for all candidates, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Choice, Score
from layerwise.atlas._candidates import Candidate, Errors, Trial

_DRAWS = 1000
_FEW = 8
_WIDE = 0.25


@final
@dataclass(frozen=True)
class Standing:
    """All candidates of one target over all seeds.

    Args:
        candidates: those that stood in every seed, in the order of the errors' columns.
        scores: the same as rows of the atlas.
        validation: errors that choose.
        test: errors that report.
        permuted: errors of the control, one column a layer.
    """

    candidates: tuple[Candidate, ...]
    scores: tuple[Score, ...]
    validation: Errors
    test: Errors
    permuted: Errors


def stand(target: str, trials: Sequence[Trial], generator: torch.Generator) -> Standing:
    """Join the trials of all seeds, readouts of one layer taken together by their name."""
    named = [{_name(c): i for i, c in enumerate(trial.candidates)} for trial in trials]
    shared = [name for name in named[0] if all(name in names for names in named)]
    columns = [[names[name] for name in shared] for names in named]
    validation = Errors.joined(
        [_pick(t.validation, c) for t, c in zip(trials, columns, strict=True)]
    )
    tests = [_pick(t.test, c) for t, c in zip(trials, columns, strict=True)]
    test = Errors.joined(tests)
    drawn = resampled(test, generator)
    low, high = drawn.quantile(0.025, 0), drawn.quantile(0.975, 0)
    spread = torch.stack([part.scores for part in tests]).std(0, correction=0)
    candidates = tuple(trials[0].candidates[i] for i in columns[0])
    scores = tuple(
        Score(
            target=target,
            network=c.network,
            layer=c.layer,
            pooling=c.pooling,
            readout=c.readout,
            validation=float(validation.scores[i]),
            test=float(test.scores[i]),
            low=float(low[i]),
            high=float(high[i]),
            spread=float(spread[i]),
            penalty=c.penalty,
        )
        for i, c in enumerate(candidates)
    )
    return Standing(
        candidates, scores, validation, test, Errors.joined([t.permuted for t in trials])
    )


def resampled(errors: Errors, generator: torch.Generator) -> Float[Tensor, "r c"]:
    """Scores of all candidates under resampling of whole groups."""
    _, group = errors.who.unique(return_inverse=True)
    count = int(group.max()) + 1
    wrong = errors.wrong.new_zeros(count, errors.wrong.shape[1]).index_add_(0, group, errors.wrong)
    base = errors.base.new_zeros(count).index_add_(0, group, errors.base)
    draws = torch.randint(count, (_DRAWS, count), generator=generator)
    times = wrong.new_zeros(_DRAWS, count).scatter_add_(1, draws, torch.ones_like(draws).to(wrong))
    return 1 - (times @ wrong) / (times @ base).clamp_min(1e-12)[:, None]


def choose(
    standing: Standing,
    *,
    milliseconds: Mapping[tuple[str, str], float],
    last: Mapping[str, str],
    generator: torch.Generator,
) -> Choice:
    """Choose on validation, report on test.

    Args:
        standing: the candidates.
        milliseconds: cost of a network's layer per sample.
        last: last layer of each network.
        generator: draws the resamples.
    """
    validation = standing.validation.scores
    tops = _top_of_each_layer(standing.candidates, validation)
    best = max(tops, key=lambda i: float(validation[i]))
    first = standing.candidates[best]
    ends = next(
        i for i in tops if _layer(standing.candidates[i]) == (first.network, last[first.network])
    )
    drawn = resampled(standing.validation, generator)
    behind = (drawn[:, [best]] - drawn[:, tops]).quantile(0.025, 0)
    level = [i for i, low in zip(tops, behind.tolist(), strict=True) if low <= 0 or i == best]
    cheapest = min(level, key=lambda i: milliseconds[_layer(standing.candidates[i])])
    reported = resampled(standing.test, generator)
    gains = reported[:, best] - reported[:, ends]
    scores = standing.scores
    cost = {i: milliseconds[_layer(standing.candidates[i])] for i in (best, cheapest)}
    groups = len(standing.test.who.unique())
    enough = groups >= _FEW and scores[best].high - scores[best].low <= _WIDE
    return Choice(
        target=scores[best].target,
        best=scores[best],
        last=scores[ends],
        cheapest=scores[cheapest],
        gain=scores[best].test - scores[ends].test,
        gain_low=float(gains.quantile(0.025)),
        gain_high=float(gains.quantile(0.975)),
        saved=1 - cost[cheapest] / cost[best] if cost[best] else 0.0,
        indistinguishable=tuple(
            (s.network, s.layer, s.pooling, s.readout) for s in (scores[i] for i in level)
        ),
        enough=enough,
        words="",
        code="",
    )


def _name(candidate: Candidate) -> tuple[str, ...]:
    readout = "nearest" if candidate.readout.endswith(" nearest") else candidate.readout
    return candidate.network, candidate.layer, candidate.pooling, readout


def _layer(candidate: Candidate) -> tuple[str, str]:
    return candidate.network, candidate.layer


def _pick(errors: Errors, columns: list[int]) -> Errors:
    return Errors(errors.wrong[:, columns], errors.base, errors.who)


def _top_of_each_layer(candidates: Sequence[Candidate], scores: Tensor) -> list[int]:
    tops: dict[tuple[str, str], int] = {}
    for i, candidate in enumerate(candidates):
        layer = _layer(candidate)
        if layer not in tops or scores[i] > scores[tops[layer]]:
            tops[layer] = i
    return list(tops.values())
