"""Shows `Example:` in a docstring as code; Griffe knows only the plural."""

from __future__ import annotations

import griffe


class Examples(griffe.Extension):
    """Renames the section before the docstring is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for every object that was loaded."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
