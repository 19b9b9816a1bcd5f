"""The page of a match: two pictures side by side, with lines between the places they share."""

from __future__ import annotations

from pathlib import Path

from layerwise.report._gallery import Figure, Row, write_gallery
from layerwise.search import Matched

_HEIGHT, _GAP = 448, 24


def write_matches(path: str | Path, network: str, found: Matched, *, most: int = 20) -> Path:
    """Draw the surest pairs.

    Args:
        path: the file.
        network: name of the network.
        found: the pairs.
        most: how many are drawn.

    Raises:
        LayerwiseError: the file cannot be written.
    """
    from PIL import Image, ImageDraw

    scales = [_HEIGHT / picture.height for picture in found.pictures]
    grown = [
        picture.convert("RGB").resize((max(1, round(picture.width * scale)), _HEIGHT))
        for picture, scale in zip(found.pictures, scales, strict=True)
    ]
    beside = grown[0].width + _GAP
    canvas = Image.new("RGB", (beside + grown[1].width, _HEIGHT), "white")
    canvas.paste(grown[0], (0, 0))
    canvas.paste(grown[1], (beside, 0))
    draw = ImageDraw.Draw(canvas)
    for number, ((x, y), (u, v), _) in enumerate(found.pairs[:most]):
        colour = f"hsl({number * 360 // max(1, min(most, len(found.pairs)))}, 85%, 45%)"
        ends = (x * scales[0], y * scales[0]), (beside + u * scales[1], v * scales[1])
        draw.line(ends, fill=colour, width=2)
        for right, down in ends:
            box = (right - 4, down - 4, right + 4, down + 4)
            draw.ellipse(box, outline="white", fill=colour)
    share = f"{len(found.pairs)} of {found.count} places are each other's nearest"
    figure = Figure("matches", canvas, share, f"the surest {min(most, len(found.pairs))} are drawn")
    return write_gallery(
        path,
        title="What is where?",
        lead=f"Places that two pictures share, by {found.layer} of {network}.",
        rows=[Row("Both pictures", "", None, [figure])],
        wide=True,
    )
