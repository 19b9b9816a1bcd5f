"""The page of a network's concepts, layer by layer, and how far to believe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from layerwise.atlas._files import write_whole
from layerwise.explain import ConceptLayer
from layerwise.report import _words
from layerwise.report._heat import laid_over, plain, step
from layerwise.report._render import render

_SIDE = 96
"""Pixels of a picture on the page."""


def write_concepts(
    layers: Sequence[ConceptLayer],
    folder: str | Path,
    *,
    network: str,
    data: str,
    names: Sequence[str],
    pictures: Sequence[Tensor | None],
    words: Sequence[Sequence[str]],
    made: Mapping[str, str],
) -> Path:
    """Write `index.html`: one page that opens offline and holds all that it shows.

    Args:
        layers: what was found.
        folder: where to; it is made if it is not there.
        network: its name.
        data: where the samples come from.
        names: of the samples.
        pictures: `[3 H W]` from 0 to 1 for each sample, or None for texts.
        words: pieces of each sample, empty for pictures.
        made: what the page says of how it was made.

    Returns:
        The path of `index.html`.
    """
    small = [None if each is None else _small(each) for each in pictures]
    values = {
        "layers": layers,
        "network": network,
        "data": data,
        "names": names,
        "seen": {i: plain(picture) for i, picture in enumerate(small) if picture is not None},
        "laid": lambda sample, heat: _laid(small[sample], heat),
        "said": lambda sample, heat: _said(_spaced(words[sample]), heat),
        "excerpt": lambda sample: "".join(_spaced(words[sample]))[:200],
        "made": made,
        "counted": _words.counted,
    }
    content = render("concepts.html.j2", values, styles=("style.css", "concepts.css"))
    path = Path(folder) / "index.html"
    write_whole(path, content.encode("utf-8", "replace"))
    return path


def _small(picture: Tensor) -> Tensor:
    from torch.nn.functional import interpolate

    return interpolate(picture[None], (_SIDE, _SIDE), mode="bilinear", antialias=True)[0]


def _laid(picture: Tensor | None, heat: Tensor) -> str:
    """A picture with a concept laid over it; where the layer has no places, as it is."""
    if picture is None:
        return ""
    return laid_over(picture, heat) if heat.ndim == 2 else plain(picture)


def _said(words: Sequence[str], heat: Tensor) -> list[tuple[str, int]]:
    """The pieces of a text, each with one of eight steps of colour."""
    if not words or heat.ndim != 1:
        return []
    values = heat.tolist() if len(heat) > 1 else heat.tolist() * len(words)
    most = max(values, default=0.0)
    pairs = zip(words, values, strict=False)
    return [(word, step(value, most)) for word, value in pairs]


def _spaced(words: Sequence[str]) -> list[str]:
    """The pieces with the spaces between words, which some tokenizers leave to the reader."""
    if any(word.startswith((" ", "\n")) for word in words):
        return list(words)
    return [word[2:] if word.startswith("##") else f" {word}" for word in words]
