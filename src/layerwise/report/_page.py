"""The page as one string: template, style, script and data joined, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from layerwise.atlas._atlas import Atlas
from layerwise.report import _words
from layerwise.report._payload import payload

_SCRIPTS = (
    *("data.js", "dom.js", "state.js", "colours.js", "tip.js", "chart.js", "depth.js"),
    *("geometry.js", "similarity.js", "samples.js", "sees.js", "neighbours.js", "layers.js"),
    *("language.js", "bar.js", "theme.js", "start.js"),
)


def page(atlas: Atlas, left_out: Sequence[str] = ()) -> str:
    """The page's HTML.

    Args:
        atlas: what it shows.
        left_out: what it does not show, in sentences.
    """
    return render(
        "page.html.j2",
        _SCRIPTS,
        data=payload(atlas),
        left_out=left_out,
        made=atlas.provenance,
        networks=atlas.networks,
        targets=atlas.targets,
        target_of={target.target: target for target in atlas.targets},
        layers=atlas.layers,
        scores=atlas.scores,
        choices=atlas.choices,
        controls=atlas.controls,
        collapse=atlas.collapse,
        geometry=atlas.collapse or any(row.effective_rank is not None for row in atlas.layers),
        similarity=[each for each in atlas.similarity if len(each.layers) > 1],
        shown=atlas.shown,
        maps=atlas.maps and atlas.shown,
        neighbours=atlas.neighbours and atlas.shown,
        pictures=atlas.pictures and atlas.shown,
        set_aside=atlas.set_aside,
        language=atlas.language,
        amount=_words.amount,
        counted=_words.counted,
        grouped=_words.grouped,
        place=_words.place,
        saving=_words.saving,
        scale_low=_words.scale_low,
        score=_words.score,
        signed=_words.signed,
        some=_words.some,
    )


def render(template: str, scripts: Sequence[str], **context: Any) -> str:
    """A page's HTML: its template filled, with the style and the scripts it uses inside.

    Args:
        template: name of the file.
        scripts: names of files, in order.
        context: what the template names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    style = _read("style.css")
    script = "\n".join(['(function () {"use strict";', *map(_read, scripts), "})();"])
    environment = Environment(
        loader=PackageLoader("layerwise.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        **context,
    )


def _read(name: str) -> str:
    return (files("layerwise.report") / "page" / name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """What the page's security policy knows an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
