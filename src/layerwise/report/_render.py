"""A page as one string: template, style, script and data joined, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any


def render(template: str, *, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """The page's HTML. The security policy in it lets these styles and scripts through alone.

    Args:
        template: name of the template.
        styles: names of style sheets, in order.
        scripts: names of scripts, in order.
        values: what the template shows.
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
    return environment.get_template(template).render(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        **values,
    )


def _read(name: str) -> str:
    return (files("layerwise.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's security policy knows an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
