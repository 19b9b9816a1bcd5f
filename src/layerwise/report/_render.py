"""A page as one string: template, style, script and values joined, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any


def render(
    template: str, values: Mapping[str, Any], *, styles: Sequence[str], scripts: Sequence[str] = ()
) -> str:
    """The page's HTML. The security policy in it lets these styles and scripts through alone.

    Args:
        template: name of the template.
        values: what the template shows.
        styles: names of style sheets, in order.
        scripts: names of scripts, in order.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    style = "\n".join(map(_read, styles))
    script = "\n".join(['(function () {"use strict";', *map(_read, scripts), "})();"])
    environment = Environment(
        loader=PackageLoader("layerwise.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    inline = {
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
    }
    return environment.get_template(template).render(inline | dict(values))


def _read(name: str) -> str:
    return (files("layerwise.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's security policy knows an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
