"""What every fusion of layers does first: look that they fit together, and make them comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError, unknown
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise

Layers = Mapping[str, Float[Tensor, "n _"]]
"""What several layers hold for the same samples, by their addresses."""

Held = tuple[Mapping[str, Tensor], Tensor]
"""Layers and targets of other samples than those that are fitted."""


def require_layers(layers: Layers, *, rows: int | None = None) -> int:
    """Check that layers belong together, and count their rows.

    Args:
        layers: what the layers hold.
        rows: how many rows there must be; as many as in the first layer without it.

    Raises:
        LayerwiseError: no layers, rows that do not match, or values that are not finite.
    """
    if not layers:
        raise LayerwiseError("there are no layers to join; give at least one")
    for name, features in layers.items():
        rows = len(features) if rows is None else rows
        if len(features) != rows:
            raise LayerwiseError(
                f"layer {name!r} holds {len(features)} rows, not {rows}; give the same samples"
            )
        require_finite(features, f"features of layer {name!r}")
    return len(next(iter(layers.values())))


def pick(layers: Layers, names: Iterable[str]) -> list[Tensor]:
    """The layers of these names, in their order.

    Raises:
        LayerwiseError: one is missing, or they do not belong together.
    """
    for name in names:
        if name not in layers:
            raise unknown("layer given", name, layers)
    chosen = {name: layers[name] for name in names}
    require_layers(chosen)
    return list(chosen.values())


def balanced(features: Float[Tensor, "n d"]) -> Standardise:
    """Zero mean, and a variance of 1 for the whole layer, so that width does not count."""
    each = Standardise.fit(features)
    return Standardise(each.mean, each.scale * features.shape[1] ** 0.5)


def columns(targets: Float[Tensor, "n k"] | Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Targets as columns.

    Raises:
        LayerwiseError: a target is not finite.
    """
    require_finite(targets, "targets")
    return targets if targets.ndim == 2 else targets.unsqueeze(1)
