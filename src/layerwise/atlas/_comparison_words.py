"""What a comparison says, in a few sentences."""

from __future__ import annotations

from dataclasses import replace

from layerwise.atlas._comparison import Comparison, Match

_ALIKE = 0.9
_HELD = 0.5


def comparison_words(found: Comparison) -> Comparison:
    """The comparison with its words."""
    if found.same:
        sentences = [_changed(found), _moved(found)]
    else:
        sentences = [_correspond(found), _part(found)]
    sentences += [_told(found), _look(found), _few(found)]
    return replace(found, words=" ".join(sentence for sentence in sentences if sentence))


def _changed(found: Comparison) -> str:
    """Where the same architecture came to make something else of the samples."""
    one, other = found.networks
    rows = found.same
    alike = [row for row in rows if row.cka >= _ALIKE]
    least = min(rows, key=lambda row: row.cka)
    if len(alike) == len(rows):
        return (
            f"{other.network} holds the samples apart as {one.network} does at every layer: least "
            f"at {least.layer}, CKA {least.cka:.3f} ({least.low:.3f} to {least.high:.3f})."
        )
    first = next(row for row in rows if row.cka < _ALIKE)
    start = (
        f"{other.network} and {one.network} are of one architecture and part at {first.layer}: "
        f"CKA {first.cka:.3f} ({first.low:.3f} to {first.high:.3f}) with itself"
    )
    if least is first:
        return f"{start}, the least of all layers."
    return f"{start}. They are least alike at {least.layer}, CKA {least.cka:.3f}."


def _moved(found: Comparison) -> str:
    moved = [(row.changed, row.layer) for row in found.same if row.changed is not None]
    if not moved:
        return ""
    most, layer = max(moved)
    if most == 0:
        return "Their weights are the same."
    least, still = min(moved)
    return (
        f"The weights of {layer} moved most, by {_share(most)} their length, those of {still} "
        f"least, by {_share(least)} theirs."
    )


def _share(value: float) -> str:
    return f"{100 * value:.3g} % of" if value < 2 else f"{value:.3g} times"


def _correspond(found: Comparison) -> str:
    one, other = found.networks
    mine = [m for m in found.matches if m.network == one.network]
    if not mine:
        return "No layer of either network varies over the samples."
    best = max(mine, key=lambda match: match.cka)
    order = "" if found.diagonality is None else _order(found.diagonality)
    return (
        f"{best.layer} of {one.network} and {best.other_layer} of {other.network} are most alike: "
        f"CKA {best.cka:.3f} ({best.low:.3f} to {best.high:.3f}).{order}"
    )


def _order(value: float) -> str:
    if value >= 0.7:
        return f" Layers of equal relative depth belong together (diagonality {value:.2f})."
    if value >= 0.3:
        return f" Partners lie at roughly the same relative depth (diagonality {value:.2f})."
    return f" Relative depth does not say which layers belong together (diagonality {value:.2f})."


def _part(found: Comparison) -> str:
    one = found.networks[0]
    mine = [m for m in found.matches if m.network == one.network]
    if len(mine) < 2:
        return ""
    least = min(mine, key=lambda match: match.cka)
    if least.cka >= _ALIKE:
        return "Every layer has a partner of CKA 0.9 or more: nowhere do they part."
    if mine[-1].cka < _HELD:
        first = _parting(mine)
        return (
            f"From {first.layer} of {one.network} on no layer of the other reaches CKA {_HELD}: "
            f"there they part; in the end the best is {mine[-1].cka:.3f}."
        )
    return (
        f"They are least alike at {least.layer} of {one.network}, where the best partner, "
        f"{least.other_layer}, has CKA {least.cka:.3f}."
    )


def _parting(mine: list[Match]) -> Match:
    """The first layer from which on no partner is half alike."""
    held = [i for i, match in enumerate(mine) if match.cka >= _HELD]
    return mine[held[-1] + 1 if held else 0]


def _told(found: Comparison) -> str:
    """Which of the two knows more of the other."""
    forth, back = (
        [
            max((v for v in column if v is not None), default=None)
            for column in zip(*s.values, strict=True)
        ]
        for s in found.told
    )
    shares = [
        sum(v for v in side if v is not None) / max(1, sum(v is not None for v in side))
        for side in (forth, back)
    ]
    one, other = found.networks
    return (
        f"A linear map from the best layer of {one.network} predicts {100 * shares[0]:.0f} % of "
        f"the variance of a layer of {other.network} on average, the other way round "
        f"{100 * shares[1]:.0f} %."
    )


def _look(found: Comparison) -> str:
    sentences = []
    for row in found.networks:
        heads = [each for each in found.looking if each.network == row.network]
        if len(heads) < 2:
            continue
        first, last = (sum(h.distances) / len(h.distances) for h in (heads[0], heads[-1]))
        sentences.append(
            f"The heads of {row.network} look {first:.3g} {heads[0].unit} far in the first layer "
            f"and {last:.3g} in the last."
        )
    return " ".join(sentences)


def _few(found: Comparison) -> str:
    if found.enough:
        return ""
    return (
        f"{found.provenance.samples} samples are few: take these numbers as a hint, and give some "
        "hundreds to be sure."
    )
