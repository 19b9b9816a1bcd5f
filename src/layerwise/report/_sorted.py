"""Pages of groups of samples, and of anomalies with the places where they are."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from layerwise.data import Samples, Unreadable
from layerwise.report._gallery import Figure, Row, write_gallery
from layerwise.search import Judged, Sorted

_GROUPS, _EACH, _SHOWN = 40, 12, 24
_COLOUR = (214, 40, 57)


def write_sorted(path: str | Path, title: str, found: Sorted) -> Path:
    """Write the page of groups, the most typical samples of each first.

    Args:
        path: the file.
        title: heading of the page.
        found: the groups.

    Raises:
        LayerwiseError: the file cannot be written.
    """
    rows = [
        Row(
            f"{len(rows)} samples",
            f"{len(rows) - _EACH} more" if len(rows) > _EACH else "",
            None,
            [Figure(found.samples.names[row], _sample(found.samples, row)) for row in rows[:_EACH]],
        )
        for rows in found.rows[:_GROUPS]
    ]
    return write_gallery(path, title=title, lead=found.words, rows=rows)


def write_judged(folder: str | Path, network: str, samples: Samples, found: Judged) -> Path:
    """Write the page of anomalies, `scores.csv`, and a heat map of each picture in `maps`.

    Args:
        folder: where to; made where it is not there.
        network: name of the network.
        samples: what was judged.
        found: the judgement.

    Returns:
        The page.

    Raises:
        LayerwiseError: the folder cannot be written.
    """
    from layerwise.atlas._files import write_whole

    folder = Path(folder)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["name", "score", "map"])
    highest = float(found.places.max()) if found.places.numel() else 1.0
    lowest = float(found.places.median()) if found.places.numel() else 0.0
    rows = []
    for number, (name, row) in enumerate(zip(found.names, found.rows, strict=True)):
        file = f"maps/{number:05}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.png"
        score = found.scores[number].item()
        writer.writerow([name, f"{score:.6g}", file])
        picture = _sample(samples, row)
        if picture is None:
            continue
        heated = _heated(picture, (found.places[number] - lowest) / max(highest - lowest, 1e-12))
        buffer = io.BytesIO()
        heated.save(buffer, "PNG")
        write_whole(folder / file, buffer.getvalue())
        if number < _SHOWN:
            beyond = "beyond 95 % of normal" if score > found.threshold else ""
            figures = [Figure(name, picture, f"{score:.3f}", beyond), Figure("where", heated)]
            rows.append(Row(f"{number + 1}. {name}", "", None, figures))
    write_whole(folder / "scores.csv", table.getvalue().encode("utf-8", "replace"))
    facts = [("network", network), ("layers", ", ".join(found.layers))]
    if not math.isnan(found.area):
        facts.append(
            (
                "made-up defects",
                f"area under the curve {found.area:.3f}, by the last layer {found.area_last:.3f}",
            )
        )
    if not math.isnan(found.area_pictures):
        facts.append(("by folders", f"area under the curve {found.area_pictures:.3f}"))
    lead = f"{len(found.names)} pictures, the least normal first. Red is where."
    return write_gallery(
        folder / "index.html", title="What is not normal?", lead=lead, rows=rows, facts=facts
    )


def _heated(picture: Any, heat: Tensor) -> Any:
    """A picture with a red veil where it is hot."""
    from PIL import Image

    mask = Image.fromarray((heat.clamp(0, 1) * 200).byte().cpu().numpy())
    mask = mask.resize(picture.size, Image.Resampling.BILINEAR)
    grey = picture.convert("L").convert("RGB")
    return Image.composite(Image.new("RGB", picture.size, _COLOUR), grey, mask)


def _sample(samples: Samples, row: int) -> Any:
    try:
        return samples.load(row)
    except Unreadable:
        return None
