"""The one exception a user's mistake raises: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final


@final
class LayerwiseError(ValueError):
    """A mistake the user can mend. The message is one line and the command line prints only it."""


def unknown(what: str, given: str, allowed: Iterable[str]) -> LayerwiseError:
    """Build the error for a name that is not there, with the nearest names that are.

    Args:
        what: kind of thing that was looked for, as in `layer` or `target`.
        given: the name as the user wrote it.
        allowed: every name that would have been found.

    Example:
        >>> print(unknown("layer", "block.3", ["blocks.3", "blocks.4", "stem"]))
        no layer is called 'block.3'; nearest: blocks.3, blocks.4
    """
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=5, cutoff=0.5) or names[:5]
    hint = f"; nearest: {', '.join(near)}" if near else "; there are none"
    return LayerwiseError(f"no {what} is called {given!r}{hint}")
