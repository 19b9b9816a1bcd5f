"""`layerwise list`: the catalogue of methods."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from layerwise._catalogue import catalogue
from layerwise.cli import _options as option
from layerwise.cli._output import say_json, say_table
from layerwise.errors import unknown


def list_methods(
    *,
    room: Annotated[str, typer.Option(help="Only the methods of this room.")] = "",
    words: Annotated[
        str,
        typer.Option(
            "--search", help="What is meant, best first; by words alone before minilm-l6 was used."
        ),
    ] = "",
    as_json: option.Json = False,
) -> None:
    """List the methods, each with the paper it comes from."""
    entries = catalogue()
    rooms = sorted({entry.room for entry in entries})
    if room and room not in rooms:
        raise unknown("room", room, rooms)
    chosen = tuple(entry for entry in entries if room in ("", entry.room))
    if words:
        from layerwise.search import search_methods

        chosen = search_methods(words, chosen)
    if as_json:
        say_json([asdict(entry) for entry in chosen])
        return
    rows = ((f"{e.room}.{e.name}", e.summary, e.title, str(e.year)) for e in chosen)
    say_table(("method", "what it does", "paper", "year>"), rows)
