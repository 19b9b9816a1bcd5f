"""The page of one text: how a language model's prediction came together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from layerwise.atlas._files import write_whole
from layerwise.explain import TextTrace
from layerwise.report._payload import embedded, rounded
from layerwise.report._render import render

_KINDS = ("attention", "kept", "mlp", "passed")


def write_trace(trace: TextTrace, folder: str | Path, *, made: Mapping[str, str]) -> Path:
    """Write `index.html`: the graph to prune, what the parts promote, and every layer's guess.

    Args:
        trace: as `explain.trace_text` gives it.
        folder: where to; it is made if it is not there.
        made: what the page says of how it was made.

    Returns:
        The path of `index.html`.
    """
    path = Path(folder) / "index.html"
    content = render(
        "trace.html.j2",
        {"data": embedded(_plain(trace)), "trace": trace, "made": made},
        styles=("style.css", "look.css"),
        scripts=("dom.js", "theme.js", "tip.js", "trace.js"),
    )
    write_whole(path, content.encode("utf-8", "replace"))
    return path


def _plain(trace: TextTrace) -> dict[str, object]:
    """What the script draws: edges and guesses as short rows."""
    edges = [
        [_KINDS.index(e.kind), e.block, e.source, e.target, e.weight, e.heads[:3]]
        for e in trace.edges
    ]
    parts = [[p.name, p.block, p.place, p.share, p.promoted, p.suppressed] for p in trace.parts]
    lens = [[[guess.token, guess.probability] for guess in row] for row in trace.lens]
    return {
        "tokens": trace.tokens,
        "place": trace.place,
        "threshold": trace.threshold,
        "floor": trace.floor,
        "states": trace.states,
        "edges": rounded(edges, 3),
        "parts": rounded(parts, 3),
        "lens": rounded(lens, 3),
    }
