"""What became of the layers during a training, as one picture: an SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from layerwise.atlas._files import write_whole
from layerwise.errors import LayerwiseError
from layerwise.measures import Followed

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 400, 200, 56, 40, 64
_PANELS: tuple[tuple[str, Callable[[Followed], float]], ...] = (
    ("probe score", lambda row: row.probe),
    ("effective rank", lambda row: row.rank),
    ("collapse (CDNV)", lambda row: row.collapse),
    ("CKA to the start", lambda row: row.alike),
)
_DASHES = ("", "7 4", "2 4", "9 3 2 3", "4 3", "12 4")
_STYLE = """
svg { font: 12px system-ui, sans-serif; --ink: #1d2129; --soft: #5b626e; --line: #e2dfd7;
  --level: 45%; background: #fbfaf7 }
text { fill: var(--soft) } .title { fill: var(--ink); font-weight: 600; font-size: 14px }
.grid { stroke: var(--line) } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  svg { --ink: #eae8e3; --soft: #a4a9b4; --line: #2d3139; --level: 68%; background: #131519 } }
"""


def draw_training(rows: Sequence[Followed], path: str | Path) -> Path:
    """Draw what `Follow` read: a panel for each measure, a line for each layer, from blue to red.

    Args:
        rows: as in `Follow.rows`.
        path: of the SVG.

    Returns:
        The path.

    Raises:
        LayerwiseError: there is nothing to draw, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> rows = [Followed(s, "0", 0.5, 3.0, 1.0, 1.0, 0.1) for s in (0, 100)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_training(rows, Path(folder) / "training.svg").read_text()[:4]
        '<svg'
    """
    if not rows:
        raise LayerwiseError("nothing was read yet; call follow.step() in the training first")
    layers = list(dict.fromkeys(row.layer for row in rows))
    shown = [panel for panel in _PANELS if any(math.isfinite(panel[1](row)) for row in rows)]
    parts = [
        part
        for place, (title, value) in enumerate(shown)
        for part in _panel(rows, layers, title, value, place=place)
    ]
    lines = -(-len(shown) // 2)
    width = 2 * (_WIDTH + _LEFT) + 40
    top = lines * (_HEIGHT + _GAP) + _TOP
    height = top + 24 * -(-len(layers) // 4) + 16
    key = [_key(layer, i, len(layers), top) for i, layer in enumerate(layers)]
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Layers during a training"><style>{_STYLE}</style>'
        f"{''.join(parts)}{''.join(key)}</svg>\n"
    )
    path = Path(path)
    write_whole(path, text.encode("utf-8", "replace"))
    return path


def _panel(
    rows: Sequence[Followed],
    layers: Sequence[str],
    title: str,
    value: Callable[[Followed], float],
    *,
    place: int,
) -> list[str]:
    left = _LEFT + (place % 2) * (_WIDTH + _LEFT)
    top = _TOP + (place // 2) * (_HEIGHT + _GAP)
    values = [v for row in rows if math.isfinite(v := value(row))]
    low, high = 0.0 - _tidy(-min(0.0, *values)), _tidy(max(values)) or 1.0
    last = max(row.step for row in rows) or 1

    def at(row: Followed) -> str:
        across = left + _WIDTH * row.step / last
        down = top + _HEIGHT * (1 - (value(row) - low) / (high - low))
        return f"{across:.1f} {down:.1f}"

    parts = [f'<text class="title" x="{left}" y="{top - 12}">{escape(title)}</text>']
    for number in sorted({low, 0.0, high / 2, high}):
        down = top + _HEIGHT * (1 - (number - low) / (high - low))
        parts.append(
            f'<path class="grid" d="M{left} {down:.1f}h{_WIDTH}"/><text x="{left - 6}" '
            f'y="{down + 4:.1f}" text-anchor="end">{number:.3g}</text>'
        )
    parts.append(
        f'<text x="{left}" y="{top + _HEIGHT + 18}">step 0</text><text x="{left + _WIDTH}" '
        f'y="{top + _HEIGHT + 18}" text-anchor="end">{last:,}</text>'
    )
    for i, layer in enumerate(layers):
        points = [at(row) for row in rows if row.layer == layer and math.isfinite(value(row))]
        if points:
            parts.append(_stroke(f"M{'L'.join(points)}", i, len(layers), layer))
    return parts


def _tidy(value: float) -> float:
    """The next number of one digit, upwards, whose half is short too; 0 for nothing above 0."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return unit * next(n for n in (1, 2, 3, 4, 5, 6, 8, 10, 20) if n * unit >= value * (1 - 1e-9))


def _stroke(path: str, index: int, count: int, layer: str) -> str:
    """A line of its own shade and dash; its title says which layer it is."""
    share = index / max(1, count - 1)
    colour = f"hsl({215 + 150 * share:.0f} 65% var(--level))"  # not by green: too pale on paper
    dash = _DASHES[index % len(_DASHES)]
    return (
        f'<path class="line" style="stroke: {colour}" stroke-dasharray="{dash}" d="{path}">'
        f"<title>{escape(layer)}</title></path>"
    )


def _key(layer: str, index: int, count: int, top: int) -> str:
    left, down = _LEFT + (index % 4) * 220, top + 24 * (index // 4)
    name = layer if len(layer) < 24 else f"…{layer[-22:]}"
    return (
        f"{_stroke(f'M{left} {down}h28', index, count, layer)}"
        f'<text x="{left + 36}" y="{down + 4}">{escape(name)}</text>'
    )
