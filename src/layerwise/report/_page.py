"""The page of an atlas as one string."""

from __future__ import annotations

from collections.abc import Sequence

from layerwise.atlas._atlas import Atlas
from layerwise.report import _words
from layerwise.report._payload import payload
from layerwise.report._render import render

_SCRIPTS = (
    *("data.js", "dom.js", "theme.js", "state.js", "colours.js", "tip.js", "chart.js", "depth.js"),
    *("cost.js", "geometry.js", "similarity.js", "samples.js", "sees.js", "inside.js"),
    *("neighbours.js", "layers.js", "language.js", "bar.js", "failure.js", "start.js"),
)


def page(atlas: Atlas, left_out: Sequence[str] = ()) -> str:
    """The page's HTML.

    Args:
        atlas: what it shows.
        left_out: what it does not show, in sentences.
    """
    values = {
        "data": payload(atlas),
        "left_out": left_out,
        "made": atlas.provenance,
        "networks": atlas.networks,
        "targets": atlas.targets,
        "target_of": {target.target: target for target in atlas.targets},
        "layers": atlas.layers,
        "scores": atlas.scores,
        "candidates": atlas.candidates,
        "budget": str(atlas.budget),
        "choices": atlas.choices,
        "controls": atlas.controls,
        "collapse": atlas.collapse,
        "geometry": atlas.collapse or any(row.effective_rank is not None for row in atlas.layers),
        "similarity": [each for each in atlas.similarity if len(each.layers) > 1],
        "shown": atlas.shown,
        "maps": atlas.maps and atlas.shown,
        "neighbours": atlas.neighbours and atlas.shown,
        "pictures": atlas.pictures and atlas.shown,
        "inside": any(each.concepts or each.units for each in atlas.inside),
        "units": any(each.units for each in atlas.inside),
        "drawn": any(unit.picture for each in atlas.inside for unit in each.units),
        "set_aside": atlas.set_aside,
        "language": atlas.language,
        "amount": _words.amount,
        "counted": _words.counted,
        "grouped": _words.grouped,
        "place": _words.place,
        "saving": _words.saving,
        "scale_low": _words.scale_low,
        "score": _words.score,
        "signed": _words.signed,
        "some": _words.some,
    }
    return render("page.html.j2", values, styles=("style.css", "inside.css"), scripts=_SCRIPTS)
