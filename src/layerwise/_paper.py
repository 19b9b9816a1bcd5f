"""The mark that ties a method to its paper. It sets one attribute and does nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, final

_Method = TypeVar("_Method", bound=Callable[..., Any])


@final
@dataclass(frozen=True)
class Paper:
    """Where a method comes from.

    Args:
        title: title as published.
        year: year of publication.
        arxiv: arXiv number, or an empty string.
        no: the paper's numbers in this project's list, P001 to P267.
        needs: optional packages the method imports when it is used.
    """

    title: str
    year: int
    arxiv: str
    no: tuple[int, ...]
    needs: tuple[str, ...]


def paper(
    title: str,
    *,
    year: int,
    arxiv: str = "",
    no: tuple[int, ...] = (),
    needs: tuple[str, ...] = (),
) -> Callable[[_Method], _Method]:
    """Mark a class or function as the component of a published method.

    Example:
        >>> @paper("A Title", year=2020, arxiv="2001.00001", no=(1,))
        ... def method() -> None: ...
        >>> method.__paper__.year
        2020
    """

    def mark(method: _Method) -> _Method:
        method.__paper__ = Paper(title, year, arxiv, no, needs)  # type: ignore[attr-defined]
        return method

    return mark
