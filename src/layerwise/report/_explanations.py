"""The page that shows explanations: what was said, why, and how far to believe it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor

import layerwise
from layerwise.atlas._files import write_whole
from layerwise.explain import Account, Judged, Subject
from layerwise.report import _words
from layerwise.report._heat import laid_over, plain, scale_bar, step
from layerwise.report._render import render

_PICTURES = 6
"""Samples whose explanations are drawn; the numbers are of all."""

_ROWS = 24
"""Explanations that are drawn; the table has all."""


@final
@dataclass(frozen=True)
class _Drawn:
    """One explanation of one sample."""

    subject: Subject
    picture: str
    words: tuple[tuple[str, int, str], ...]
    most: str
    score: float


def write_explanations(account: Account, path: str | Path, *, command: str = "") -> Path:
    """Write one page that opens offline and holds all that it shows.

    Args:
        account: what to show.
        path: of the page; a folder gets an `explanations.html`.
        command: how it was made.

    Returns:
        The path of the page.

    Raises:
        LayerwiseError: it cannot be written.
    """
    shown = account.subjects[:_PICTURES]
    values = {
        "account": account,
        "shown": shown,
        "pictures": [plain(s.picture) if s.picture is not None else "" for s in shown],
        "rows": [(each, _drawn(each, shown)) for each in account.judged[:_ROWS]],
        "scale": scale_bar(),
        "command": command,
        "version": layerwise.__version__,
        "counted": _words.counted,
        "signed": _words.signed,
        "score": _words.score,
        "place": _place,
        "verdict": verdict,
        "mean": lambda values: float(values.mean()),
    }
    content = render("explanations.html.j2", values, styles=("style.css", "explanations.css"))
    path = Path(path)
    target = path / "explanations.html" if path.is_dir() or not path.suffix else path
    write_whole(target, content.encode("utf-8", "replace"))
    return target


def verdict(judged: Judged) -> str:
    """In words, how far to believe an explanation.

    Args:
        judged: the explanation.
    """
    left = float(judged.left.mean())
    unsure = judged.score - 2 * judged.error if math.isfinite(judged.error) else judged.score
    if left > 0.6:
        return "Stays much the same when the weights are scrambled: it shows the input, not why."
    if unsure <= 0:
        return "No better than the same map in another place: do not believe it."
    if judged.score < 0.05:
        return "Hardly better than the same map in another place."
    if not math.isfinite(judged.error):
        return "It points at what the network uses, as far as one sample tells."
    return "It points at what the network uses."


def _drawn(judged: Judged, shown: tuple[Subject, ...]) -> list[_Drawn]:
    drawn = []
    for i, subject in enumerate(shown):
        heat = judged.heat[i].detach().float().cpu()
        most = float(heat.abs().max())
        drawn.append(
            _Drawn(
                subject,
                laid_over(subject.picture, heat[0]) if subject.picture is not None else "",
                _coloured(subject, heat) if subject.picture is None else (),
                f"{most:.2g}",
                float(judged.faithfulness.score[i]),
            )
        )
    return drawn


def _coloured(subject: Subject, heat: Tensor) -> tuple[tuple[str, int, str], ...]:
    values = heat.flatten()[: len(subject.words)].tolist()
    most = max((abs(value) for value in values), default=0.0)
    return tuple(
        (word, step(value, most), f"{value:.3g}")
        for word, value in zip(subject.words, values, strict=False)
    )


def _place(value: float) -> str:
    """Where a score from -1 to 1 stands on a line, as a percentage for SVG."""
    return f"{50 + 50 * max(-1.0, min(1.0, value)):.2f}%"
