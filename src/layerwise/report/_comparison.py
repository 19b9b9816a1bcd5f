"""The page of a comparison: the atlas's style and charts, with what two networks have in common."""

from __future__ import annotations

from pathlib import Path

from layerwise.atlas._comparison import Comparison
from layerwise.atlas._files import write_whole
from layerwise.report import _words
from layerwise.report._payload import compact
from layerwise.report._render import render

_SCRIPTS = (
    *("data.js", "dom.js", "state.js", "colours.js", "tip.js", "chart.js", "geometry.js"),
    *("similarity.js", "theme.js", "failure.js", "compare.js"),
)


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write `index.html`: one page that opens offline and holds all that it shows.

    Args:
        comparison: what to show.
        folder: where to; it is made if it is not there.

    Returns:
        The path of `index.html`.

    Raises:
        LayerwiseError: the folder cannot be written.
    """
    content = comparison_page(comparison).encode("utf-8", "replace")
    path = Path(folder) / "index.html"
    write_whole(path, content)
    return path


def comparison_page(found: Comparison) -> str:
    """The page's HTML."""
    rows = {"layers": found.layers}
    plain = {
        name: getattr(found, name)
        for name in (
            *("networks", "matches", "same", "looking", "placed", "probed", "similarity", "told"),
        )
    }
    values = {
        "data": compact(rows, plain),
        "found": found,
        "made": found.provenance,
        "networks": found.networks,
        "layers": found.layers,
        "set_aside": found.set_aside,
        "amount": _words.amount,
        "counted": _words.counted,
        "grouped": _words.grouped,
        "score": _words.score,
    }
    return render("compare.html.j2", values, styles=("style.css",), scripts=_SCRIPTS)
