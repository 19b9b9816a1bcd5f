"""`layerwise demo`: the main job on the built-in photographs."""

from __future__ import annotations

from pathlib import Path

from layerwise.cli import _options as option
from layerwise.cli._atlas import survey


def demo(
    *,
    networks: option.Networks = ["efficientnet-lite0"],  # noqa: B006
    out: option.Out = Path("demo"),
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Rank the layers of a starter network on photographs that are built in."""
    survey(
        "photos",
        networks=networks,
        out=out,
        seed=seed,
        device=device,
        limit=limit,
        as_json=as_json,
    )
