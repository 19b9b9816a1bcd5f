"""The page of a server: it asks what people give it, and draws what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import layerwise
from layerwise.report._payload import embedded
from layerwise.report._render import render


def served_page(
    *,
    title: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    kind: str,
    modality: str,
    path: str,
    limits: tuple[int, int, float],
    more: Mapping[str, Any],
) -> str:
    """The page's HTML. Its policy lets it ask its own server and nobody else.

    Args:
        title: the question it answers.
        lead: what is behind it, in a sentence or two.
        facts: name and value of all that is to be known.
        kind: of the service: `reader`, `atlas` or `index`.
        modality: `image` or `text`.
        path: of the endpoint that it asks.
        limits: bytes and inputs of a request, and seconds for its answer.
        more: whatever else its script needs; `words` is the path that texts go to where pictures
            are asked for by both.
    """
    most_bytes, inputs, seconds = limits
    told = {
        "kind": kind,
        "modality": modality,
        "path": path,
        "bytes": most_bytes,
        "inputs": inputs,
        **more,
    }
    values = {
        "title": title,
        "lead": lead,
        "facts": [
            *facts,
            ("largest request", f"{most_bytes / 2**20:.3g} MB, {inputs} inputs, {seconds:g} s"),
            ("layerwise", layerwise.__version__),
        ],
        "kind": kind,
        "modality": modality,
        "path": path,
        "words": more.get("words", ""),
        "data": embedded(told),
    }
    return render(
        "served.html.j2",
        values,
        styles=("style.css", "served.css"),
        scripts=("dom.js", "theme.js", "served.js", f"served_{kind}.js", "served_start.js"),
    )
