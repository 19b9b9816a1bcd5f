"""Pictures that the units of the chosen layers answer to, drawn only where they are asked for.

They are MACO's (`layerwise visualize` draws them larger and holds them against photographs), small
and with few steps: half a minute or so for each unit on one core. Each is kept in a file of the
atlas's folder while it is drawn, so that a survey that was stopped goes on there, and a later one
has them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from layerwise.atlas._choose import Key
from layerwise.atlas._inside_rows import Inside
from layerwise.atlas._show import data_uri
from layerwise.errors import LayerwiseError
from layerwise.explain import maco, picture_side
from layerwise.models import Network

_STEPS, _CROPS = 64, 4
_SIDE = 112
"""Pixels that the network is shown, if it takes so few; the picture has twice as many."""
_PIXELS = 224
"""Sides of the picture on the page."""


def require_pictures(networks: Sequence[Network]) -> None:
    """Say at once what cannot be drawn for.

    Raises:
        LayerwiseError: a network takes no pictures.
    """
    for network in networks:
        try:
            picture_side(network)
        except LayerwiseError as error:
            raise LayerwiseError(
                f"no units can be drawn: {error}; or leave visualize out"
            ) from None


def visualised(
    inside: Sequence[Inside],
    networks: Mapping[str, Network],
    features: Mapping[Key, Float[Tensor, "n _"]],
    layers: Collection[tuple[str, str]],
    *,
    count: int,
    folder: Path,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[Inside, ...]:
    """The same layers, with pictures of some units of those that were chosen.

    Args:
        inside: all layers, looked into.
        networks: by name.
        features: that were stored; the answer to a picture is held against them.
        layers: network and address of the chosen ones.
        count: units of each that are drawn, those that stand out most.
        folder: where the pictures are kept while they are drawn.
        seed: of their first phases.
        progress: called as `progress(stage, done, total)`.
    """
    sides = {name: _side(networks[name]) for name in {name for name, _ in layers}}
    made = []
    for each in inside:
        if (each.network, each.layer) not in layers:
            made.append(each)
            continue
        units = []
        for unit in each.units[:count]:

            def tell(
                _: str, done: int, total: int, named: str = f"{each.layer} {unit.unit}"
            ) -> None:
                if progress is not None:
                    progress(f"drawing unit {named}", done, total)

            name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{each.network}-{each.layer}-{unit.unit}")
            seen = maco(
                networks[each.network],
                layer=each.layer,
                unit=unit.unit,
                size=2 * sides[each.network],
                side=sides[each.network],
                steps=_STEPS,
                crops=_CROPS,
                generator=torch.Generator().manual_seed(seed),
                keep=folder / f"{name}.ascent",
                progress=tell,
            )
            answers = features[each.network, each.layer, "mean"][:, unit.unit]
            above = float((answers < seen.reached.to(answers)).double().mean())
            units.append(replace(unit, picture=_shown(seen.picture), above=above))
        made.append(replace(each, units=(*units, *each.units[count:])))
    return tuple(made)


def _side(network: Network) -> int:
    """Pixels that are enough to draw with, or those that a network insists on."""
    own = picture_side(network)
    if own <= _SIDE:
        return own
    try:
        maco(network, size=2 * _SIDE, side=_SIDE, steps=1, crops=1)
    except LayerwiseError:
        return own
    return _SIDE


def _shown(picture: Float[Tensor, "c h w"]) -> str:
    values = (255 * picture.permute(1, 2, 0)).round().byte().cpu().numpy()
    image = Image.fromarray(values)
    image.thumbnail((_PIXELS, _PIXELS))
    return data_uri(image, "JPEG")
