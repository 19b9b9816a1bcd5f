"""What checks the annotations of the library while the tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `beartype`, but a function inside a function is left as it is.

    Such a one is made anew whenever the outer one runs, a hook for every module of a network for
    example, and to prepare its check takes a millisecond each time.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
