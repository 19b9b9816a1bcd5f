"""What an atlas says of a language model, layer by layer, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class LanguageRow:
    """One layer of a language model on texts.

    `lens` and `shortcut` are the shares of tokens at which the layer's first choice is the
    network's, as it is and after a linear shortcut, with 95 % intervals over texts; `divergence` is
    the lens's KL divergence to the final distribution in nats. `attention` and `mlp` are the length
    of what they add over that of the stream. `skipped_later` and `skipped_output` say what leaving
    the layer out does to what later layers add, and to the next token's probabilities; `future_*`
    the same for later tokens alone. `cdnv` is how far the states before equal next tokens have
    collapsed (0: to a point), `answers` the share of cloze questions of these texts that the layer
    answers rightly. None where a number is not defined.
    """

    network: str
    layer: str
    lens: float
    lens_low: float
    lens_high: float
    shortcut: float
    shortcut_low: float
    shortcut_high: float
    divergence: float
    attention: float | None
    mlp: float | None
    skipped_later: float | None
    skipped_output: float | None
    future_later: float | None
    future_output: float | None
    cdnv: float | None
    answers: float | None
    answers_low: float | None
    answers_high: float | None


@final
@dataclass(frozen=True)
class Language:
    """A language model on texts, and how deep it has to be for them.

    `tokens` were looked at, and `fitted` others served to fit the shortcuts. `effective_depth` is
    the number of blocks up to the last one that later tokens need at least half as much as the most
    needed one. `exit_depth` is the share of blocks that run when each token stops as soon as it is
    sure enough to keep 95 % of the predictions; None if it never is. `chance` is that of `answers`.
    """

    network: str
    texts: int
    tokens: int
    fitted: int
    blocks: int
    effective_depth: int
    exit_depth: float | None
    chance: float | None
    rows: tuple[LanguageRow, ...]
    words: str
