"""The page of some units: a picture of each, and what it has to be held against."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from torch import Tensor

from layerwise.atlas._files import write_whole
from layerwise.explain import Visualisation
from layerwise.report._render import render

if TYPE_CHECKING:
    from PIL import Image

_BAR = 0.25
"""Share of a picture's width that its scale bar takes."""
_THUMBNAIL = 112


@final
@dataclass(frozen=True)
class Sight:
    """One unit on the page.

    Args:
        unit: its number.
        seen: the picture that was made.
        best: the real pictures that it answers to most, each with its answer.
        above: share of all real pictures that answer less than the picture that was made.
        shown: how many real pictures there were.
    """

    unit: int
    seen: Visualisation
    best: Sequence[tuple[Image.Image, float]]
    above: float
    shown: int


def write_visualisations(
    sights: Sequence[Sight],
    folder: str | Path,
    *,
    network: str,
    layer: str,
    side: int,
    made: Mapping[str, str],
) -> Path:
    """Write `index.html` and one `unit-N.png` for each unit.

    Args:
        sights: the units.
        folder: where to; it is made if it is not there.
        network: its name.
        layer: address of the layer they belong to.
        side: pixels that the network takes, for the scale bar.
        made: what the page says of how it was made.

    Returns:
        The path of `index.html`.
    """
    place = Path(folder)
    shown = []
    for sight in sights:
        picture = _bytes(sight.seen.picture)
        write_whole(place / f"unit-{sight.unit}.png", picture)
        masked = np.concatenate([_pixels(sight.seen.picture), _alpha(sight.seen.importance)], 2)
        shown.append(
            {
                "unit": sight.unit,
                "picture": _link(picture),
                "masked": _link(_png(masked)),
                "width": sight.seen.picture.shape[2],
                "reached": float(sight.seen.reached),
                "above": sight.above,
                "shown": sight.shown,
                "best": [(_thumbnail(image), answer) for image, answer in sight.best],
                "climb": _line(sight.seen.scores.tolist(), [a for _, a in sight.best[:1]]),
            }
        )
    values = {
        "sights": shown,
        "network": network,
        "layer": layer,
        "side": side,
        "bar": _BAR,
        "made": made,
    }
    content = render(
        "visualisation.html.j2",
        values,
        styles=("style.css", "look.css"),
        scripts=("dom.js", "theme.js", "still.js"),
    )
    path = place / "index.html"
    write_whole(path, content.encode("utf-8", "replace"))
    return path


def _pixels(picture: Tensor) -> np.ndarray:
    grey = picture.expand(3, -1, -1) if len(picture) == 1 else picture[:3]
    return (grey.permute(1, 2, 0).double().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)


def _alpha(importance: Tensor) -> np.ndarray:
    """The places that mattered, opaque; the strongest fifth of them fully."""
    weight = importance.double().cpu().numpy()
    top = max(np.quantile(weight, 0.8), 1e-12)
    return (np.clip(weight / top, 0, 1) * 255).round().astype(np.uint8)[:, :, None]


def _bytes(picture: Tensor) -> bytes:
    return _png(_pixels(picture))


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG", optimize=True)
    return held.getvalue()


def _thumbnail(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=82)
    return _link(held.getvalue(), "jpeg")


def _link(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _line(scores: Sequence[float], marks: Sequence[float]) -> dict[str, object]:
    """The scores as a path in a box of 100 x 100, and where the best real picture lies in it."""
    low, high = min(*scores, *marks, 0.0), max(*scores, *marks, 1e-9)
    last = max(1, len(scores) - 1)

    def y(value: float) -> float:
        return round(100 - 100 * (value - low) / (high - low), 2)

    steps = " ".join(f"{100 * i / last:.2f} {y(score)}" for i, score in enumerate(scores))
    return {"path": f"M{steps}", "marks": [y(mark) for mark in marks]}
