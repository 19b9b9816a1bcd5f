"""Shape and similarity of the layers' features, from the measures room to rows of the atlas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Collapse, LayerRow, Similarity
from layerwise.atlas._choose import Key
from layerwise.data import Target
from layerwise.measures import (
    cka,
    effective_rank,
    intrinsic_dimension,
    neural_collapse,
    participation_ratio,
    sample_notes,
    spectrum,
)

_NEIGHBOURHOOD = 1000
_FEWEST = 16


def dimensions_of(row: LayerRow, features: Float[Tensor, "n d"]) -> LayerRow:
    """The row with the dimensions of the layer's features, where there are samples enough.

    The intrinsic dimension is taken from at most 1,000 samples, drawn evenly.
    """
    if len(features) < _FEWEST:
        return row
    variances = spectrum(features)
    few = features[torch.linspace(0, len(features) - 1, min(len(features), _NEIGHBOURHOOD)).long()]
    return replace(
        row,
        effective_rank=_defined(effective_rank(variances)),
        participation_ratio=_defined(participation_ratio(variances)),
        intrinsic_dimension=_defined(intrinsic_dimension(few)),
    )


def smallness(features: Mapping[str, Float[Tensor, "n _"]]) -> tuple[str, ...]:
    """What too few samples do to the dimensions of some layers, a line for each kind."""
    told: dict[str, list[str]] = {}
    for layer, values in features.items():
        if _FEWEST <= len(values) <= _NEIGHBOURHOOD:
            for note in sample_notes(values):
                told.setdefault(note.partition(":")[0], []).append(f"at {layer}, {note}")
    told.pop("biased CKA", None)  # similarity is unbiased here
    return tuple(
        notes[0] if len(notes) == 1 else f"{notes[0]}; so at {len(notes) - 1} other layers"
        for notes in told.values()
    )


def collapse_of(
    target: Target, features: Mapping[Key, Float[Tensor, "n _"]], rows: Tensor
) -> tuple[Collapse, ...]:
    """Neural collapse of every layer on some samples, for a target with classes."""
    if target.kind == "number":
        return ()
    labels = target.values[rows]
    if int((labels.bincount() > 1).sum()) < 2:
        return ()
    found = []
    for key, values in features.items():
        result = neural_collapse(values[rows], labels)
        found.append(
            Collapse(
                target=target.name,
                network=key[0],
                layer=key[1],
                pooling=key[2],
                nc1=_defined(result.nc1),
                nc2_equinorm=_defined(result.nc2_equinorm),
                nc2_coherence=_defined(result.nc2_coherence),
                nc3=_defined(result.nc3),
                nc4=_defined(result.nc4),
                noise=_defined(result.noise),
            )
        )
    return tuple(found)


def _defined(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def similarity_of(
    features: Mapping[Key, Float[Tensor, "n _"]], networks: list[str]
) -> tuple[Similarity, ...]:
    """CKA between all layers of every pair of networks, by mean pooling."""
    layers = {
        name: {key[1]: v for key, v in features.items() if key[0] == name and key[2] == "mean"}
        for name in networks
    }
    every = [(name, layer, v) for name in networks for layer, v in layers[name].items()]
    values = cka([v for _, _, v in every])
    found = []
    for i, name in enumerate(networks):
        for other in networks[i:]:
            rows = [j for j, (of, _, _) in enumerate(every) if of == name]
            columns = [j for j, (of, _, _) in enumerate(every) if of == other]
            block = values[rows][:, columns].tolist()
            found.append(
                Similarity(
                    name,
                    other,
                    tuple(every[j][1] for j in rows),
                    tuple(every[j][1] for j in columns),
                    tuple(tuple(None if math.isnan(v) else v for v in row) for row in block),
                )
            )
    return tuple(found)
