"""Numbers as people read them, for the page's template."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerwise.atlas._atlas import Choice, TargetRow


def score(value: float) -> str:
    r"""Three decimals, with a true minus.

    Args:
        value: an accuracy or R2.

    Example:
        >>> score(0.84251), score(-0.1)
        ('0.843', '\u22120.100')
    """
    return f"{value:.3f}".replace("-", "\u2212") if math.isfinite(value) else "undefined"


def signed(value: float) -> str:
    r"""A difference of scores, always with its sign.

    Args:
        value: the difference.

    Example:
        >>> signed(0.0), signed(-0.02)
        ('+0.000', '\u22120.020')
    """
    return f"{value:+.3f}".replace("-", "\u2212") if math.isfinite(value) else "undefined"


def grouped(value: int) -> str:
    """A whole number with its thousands apart.

    Args:
        value: the number.

    Example:
        >>> grouped(12345)
        '12,345'
    """
    return f"{value:,}"


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun.

    Args:
        count: how many.
        one: the noun for one.
        many: the noun for several, if an `s` does not make it.

    Example:
        >>> counted(1, "layer"), counted(2, "class", "classes")
        ('1 layer', '2 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def amount(value: int) -> str:
    """A large number with three digits and k, M, G or T.

    Args:
        value: the number.

    Example:
        >>> amount(950), amount(4_652_008), amount(390_000_000)
        ('950', '4.65 M', '390 M')
    """
    power = min(4, max(0, int(math.log10(value) // 3))) if value >= 1 else 0
    return f"{value / 1000**power:.3g} {' kMGT'[power]}".rstrip(" ")


def some(names: Sequence[str], *, most: int = 20) -> str:
    """The first of many names.

    Args:
        names: all of them.
        most: how many are named.

    Example:
        >>> some(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def saving(choice: Choice) -> str:
    """What the cheapest layer saves against the best one.

    Args:
        choice: the answer for a target.
    """
    best, cheapest = choice.best, choice.cheapest
    if (best.network, best.layer) == (cheapest.network, cheapest.layer):
        return "the best layer itself"
    saved = f", saves {choice.saved:.0%} of the time" if choice.saved >= 0.005 else ""
    return score(cheapest.test) + saved


def scale_low(choice: Choice, target: TargetRow) -> float:
    """Where the line of scores on a card begins; it ends at 1.

    Args:
        choice: the answer for a target.
        target: the target.
    """
    shown = (choice.last.test, choice.cheapest.test, choice.best.low, target.chance)
    return max(-1.0, min(0.0, *(value for value in shown if math.isfinite(value))))


def place(value: float, low: float) -> str:
    """Where a score stands on a line from `low` to 1, as a percentage for SVG.

    Args:
        value: the score.
        low: where the line begins.

    Example:
        >>> place(0.25, 0.0)
        '25.00%'
    """
    share = (value - low) / (1 - low) if math.isfinite(value) else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"
