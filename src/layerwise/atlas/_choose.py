"""From the answers of every readout on every layer to a choice, with what the data cannot tell.

Validation samples choose: the best readout, and the cheapest layer whose gap to it is at most one
standard error of that gap (the rule that Breiman et al. 1984 prune trees by). A gap whose 95 %
interval reaches zero is not enough for that: where groups are few such intervals are wide, and the
cheapest of many layers is then the luckiest one (measured: 0.18 lower on test, for `rotation` of
`photos`). Test samples only report, and may refute: where they tell the cheapest from the best, the
best stands alone. Seeds divide the samples anew; their answers are taken together, and resampled by
groups of related samples, so that a sample which several seeds tested counts once. Gaps are paired
over the same samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Choice, Score
from layerwise.data import Target
from layerwise.measures import Interval, Marks, ProbeTable, Reading

Key = tuple[str, str, str]
"""Network, layer and pooling."""

_FEW = 8
_WIDE = 0.25


@final
@dataclass(frozen=True)
class Standing:
    """All readings of one target over all seeds.

    Args:
        readings: in the order of the columns of everything else.
        scores: the same as rows of the atlas.
        validation: to choose by.
        test: to report.
        permuted: test scores after fitting to permuted answers, a row for each time.
        chosen_by: `n` names of the groups of the validation rows.
        tested_by: those of the test rows.
    """

    readings: tuple[Reading[Key], ...]
    scores: tuple[Score, ...]
    validation: Marks
    test: Marks
    permuted: Float[Tensor, "p m"]
    chosen_by: tuple[str, ...]
    tested_by: tuple[str, ...]


def stand(
    target: Target,
    keys: Sequence[str],
    tables: Sequence[ProbeTable[Key]],
    generator: torch.Generator,
) -> Standing:
    """Take the tables of all seeds together.

    Args:
        target: what was read.
        keys: of all samples; each is its own group where the target has none.
        tables: one a seed, with the same readings.
        generator: draws the resamples.
    """
    validation = _joined([table.validation for table in tables])
    test = _joined([table.test for table in tables])
    names = target.groups or keys
    chosen_by, tested_by = (
        tuple(names[row] for row in marks.rows.tolist()) for marks in (validation, test)
    )
    interval = test.intervals(groups=tested_by, generator=generator)
    spread = torch.stack([table.test.scores for table in tables]).std(0, correction=0)
    readings = tables[0].readings
    scores = tuple(
        Score(
            target=target.name,
            network=reading.layer[0],
            layer=reading.layer[1],
            pooling=reading.layer[2],
            readout=reading.readout,
            validation=float(validation.scores[i]),
            test=float(interval.value[i]),
            low=float(interval.low[i]),
            high=float(interval.high[i]),
            spread=float(spread[i]),
            penalty=reading.setting,
        )
        for i, reading in enumerate(readings)
    )
    permuted = torch.cat([table.permuted for table in tables])
    return Standing(readings, scores, validation, test, permuted, chosen_by, tested_by)


def choose(
    standing: Standing,
    *,
    milliseconds: Mapping[tuple[str, str], float],
    last: Mapping[str, str],
    generator: torch.Generator,
    combined: Collection[Key] = (),
    affordable: Collection[tuple[str, str]] | None = None,
) -> Choice:
    """Choose on validation, report on test.

    Several layers joined are chosen only where they score more than a standard error higher than
    the best single layer. The last layer is there to compare with, whatever it costs.

    Args:
        standing: the readings.
        milliseconds: cost of a network's layer per sample.
        last: last layer of each network.
        generator: draws the resamples.
        combined: what is no single layer.
        affordable: networks with the layers to choose from, one at least; all without it.
    """
    validation = standing.validation.scores
    every = _top_of_each_layer(standing.readings, validation)
    tops = {at: i for at, i in every.items() if affordable is None or at in affordable}
    order = sorted(tops.values(), key=lambda i: -float(validation[i]))
    single = next(i for i in order if standing.readings[i].layer not in combined)
    over = standing.validation.lead(order[0], groups=standing.chosen_by, generator=generator)
    clear = float(over.value[single]) > float(_error(over)[single])
    best = order[0] if clear else single
    network = standing.readings[best].layer[0]
    end = every[network, last[network]]
    lead = standing.validation.lead(best, groups=standing.chosen_by, generator=generator)
    # Where nothing varies there is no interval, and nothing to tell two layers apart by.
    level = {at: i for at, i in tops.items() if i == best or not float(lead.low[i]) > 0}
    gain = standing.test.lead(best, groups=standing.tested_by, generator=generator)
    error = _error(lead)
    near = {at: i for at, i in level.items() if i == best or float(lead.value[i]) <= error[i]}
    cheapest = near[min(near, key=lambda at: milliseconds[at])]
    if float(gain.low[cheapest]) > 0:
        cheapest = best
    scores = standing.scores
    spent = {i: milliseconds[standing.readings[i].layer[:2]] for i in (best, cheapest)}
    narrow = scores[best].high - scores[best].low <= _WIDE
    return Choice(
        target=scores[best].target,
        best=scores[best],
        last=scores[end],
        cheapest=scores[cheapest],
        gain=float(gain.value[end]),
        gain_low=float(gain.low[end]),
        gain_high=float(gain.high[end]),
        saved=1 - spent[cheapest] / spent[best] if spent[best] else 0.0,
        indistinguishable=tuple(
            (*standing.readings[i].layer, scores[i].readout) for i in level.values()
        ),
        enough=narrow and len(set(standing.tested_by)) >= _FEW,
        words="",
        code="",
    )


def _error(gap: Interval) -> Float[Tensor, " m"]:
    """Standard errors of gaps, from the width of their 95 % intervals."""
    return (gap.high - gap.low) / 3.92


def _joined(parts: Sequence[Marks]) -> Marks:
    return Marks(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.truth for part in parts]),
        torch.cat([part.answers for part in parts]),
    )


def _top_of_each_layer(
    readings: Sequence[Reading[Key]], scores: Tensor
) -> dict[tuple[str, str], int]:
    tops: dict[tuple[str, str], int] = {}
    for i, reading in enumerate(readings):
        at = reading.layer[:2]
        if at not in tops or scores[i] > scores[tops[at]]:
            tops[at] = i
    return tops
