"""How deep a language model has to be for some texts, in a few sentences."""

from __future__ import annotations

from dataclasses import replace

from layerwise.atlas._language_rows import Language, LanguageRow

_KEPT = 0.95


def language_words(found: Language) -> Language:
    """The answer with its words."""
    sentences = [_needed(found), _exit(found), _effective(found), _least(found), _answers(found)]
    return replace(found, words=" ".join(sentence for sentence in sentences if sentence))


def _needed(found: Language) -> str:
    """From where on the prediction does not change any more."""
    rows = found.rows
    last = len(rows) - 1
    held = [max(row.lens, row.shortcut) >= _KEPT for row in rows]
    first = max((i for i, enough in enumerate(held) if not enough), default=-1) + 1
    row = rows[min(first, last)]
    if first >= last:
        before = rows[last - 1]
        return (
            f"For these texts {found.network} needs all of its {found.blocks} blocks: even from "
            f"{before.layer}, the last but one, the next token is the final one only "
            f"{_share(before)} of the time."
        )
    blocks = found.blocks - (last - first)
    return (
        f"For these texts {found.network} needs {blocks} of its {found.blocks} blocks: from "
        f"{row.layer} on, read through a linear shortcut or as it is, a layer gives the final next "
        f"token {_share(row)} of the time."
    )


def _share(row: LanguageRow) -> str:
    better = row.shortcut >= row.lens
    value, low, high = (
        (row.shortcut, row.shortcut_low, row.shortcut_high)
        if better
        else (row.lens, row.lens_low, row.lens_high)
    )
    return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def _exit(found: Language) -> str:
    if found.exit_depth is None or found.exit_depth > 0.995:
        return "No token can stop early without losing more than 5 % of the predictions."
    blocks = found.exit_depth * found.blocks
    return (
        f"If every token stopped as soon as its shortcut is sure, {100 * _KEPT:.0f} % of the "
        f"predictions would stay and {blocks:.1f} blocks would run on average."
    )


def _effective(found: Language) -> str:
    count = found.effective_depth
    first = "the first block" if count == 1 else f"the first {count} blocks"
    return (
        f"Later tokens rest on {first}: leaving out any block after that disturbs what follows "
        "less than half as much as the most needed one does."
    )


def _least(found: Language) -> str:
    known = [row for row in found.rows if row.skipped_output is not None]
    if not known:
        return ""
    least = min(known, key=lambda row: row.skipped_output or 0.0)
    most = max(known, key=lambda row: row.skipped_output or 0.0)
    return (
        f"Left out alone, {least.layer} is missed least and {most.layer} most: the next token's "
        f"probabilities move by {least.skipped_output:.2f} and {most.skipped_output:.2f}."
    )


def _answers(found: Language) -> str:
    known = [row for row in found.rows if row.answers is not None]
    if not known or found.chance is None:
        return ""
    best = max(known, key=lambda row: row.answers or 0.0)
    return (
        f"Words that the texts go on with are told from others best by {best.layer}: "
        f"{best.answers:.2f} ({best.answers_low:.2f} to {best.answers_high:.2f}; chance "
        f"{found.chance:.2f})."
    )
