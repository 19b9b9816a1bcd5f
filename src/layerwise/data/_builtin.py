"""The sets of samples that need no download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from layerwise.data._photos import open_photos
from layerwise.data._samples import Samples
from layerwise.data._stdlib import open_stdlib


@runtime_checkable
class Opener(Protocol):
    """Opens a built-in set."""

    def __call__(self, *, targets: Sequence[str] | None, limit: int | None, seed: int) -> Samples:
        """Open it; see `layerwise.data.open`."""
        ...


@final
@dataclass(frozen=True)
class BuiltIn:
    """A set of samples that comes with the library.

    Args:
        name: word for `layerwise.data.open`.
        says: what it holds, in a sentence.
        open: opens it.
    """

    name: str
    says: str
    open: Opener


def builtin() -> tuple[BuiltIn, ...]:
    """All built-in sets.

    Example:
        >>> [each.name for each in builtin()]
        ['photos', 'stdlib']
    """
    return (
        BuiltIn(
            "photos",
            "Crops of photographs from scikit-image and scikit-learn, turned, blurred and lit: "
            "which photograph, rotation, blur, brightness.",
            open_photos,
        ),
        BuiltIn(
            "stdlib",
            "Excerpts of Python's own library: kind of text, package, order of the words, length.",
            open_stdlib,
        ),
    )
