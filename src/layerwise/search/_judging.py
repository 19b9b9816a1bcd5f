"""Anomalous pictures among others, from normal ones alone: which layers, which pictures, where.

With `layers="auto"` defects are made up on half of the normal pictures, and every layer with places
is asked to find them by the nearest place of the other half: the layer, or the pair of layers, with
the largest area under the curve is taken. Other pictures with other defects then say what that
gains over the last layer. How high a normal picture may score is seen on normal pictures that the
method has not learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.data import Samples, SetAside, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.search._defects import synthetic_defects
from layerwise.search._patch_core import Anomalous, PatchCore, averaged, coreset, stacked
from layerwise.taps import on_grid, read
from layerwise.vocabulary import required

Judge = Callable[[Tensor], Callable[[Tensor], Anomalous]]
"""Learns normal maps and gives what judges others, as `PatchCore.fit` does."""

_TRIED, _REMEMBERED, _BATCH = 24, 1000, 8
_GOOD = ("good", "normal", "ok")


@final
@dataclass(frozen=True)
class Judged:
    """What was found.

    Args:
        names: of the pictures, the most anomalous first.
        rows: of the same in the samples.
        scores: of the same.
        places: of the same.
        threshold: score that 95 % of normal pictures stay below; NaN where there are too few.
        layers: that were read.
        area: under the curve, of places with made-up defects by these layers; NaN if not tried.
        area_last: the same by the last layer.
        area_pictures: of the pictures, where their classes say which are normal; else NaN.
        set_aside: pictures that could not be read.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    scores: Float[Tensor, " n"]
    places: Float[Tensor, "n h w"]
    threshold: float
    layers: tuple[str, ...]
    area: float
    area_last: float
    area_pictures: float
    set_aside: tuple[SetAside, ...]


def find_anomalies(
    network: Network,
    normal: Samples,
    samples: Samples,
    *,
    layers: str = "auto",
    fit: Judge = PatchCore.fit,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Judged:
    """Judge pictures by normal ones.

    Args:
        network: reads the pictures.
        normal: pictures without anomalies.
        samples: what is to be judged.
        layers: addresses or patterns of layers with places, or `auto`.
        fit: the method.
        seed: of made-up defects.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: no pictures, too few normal ones, or a layer without places.
    """
    for each in (normal, samples):
        if each.modality != "image" or network.modality != "image":
            raise LayerwiseError(
                f"{network.name} and {each.source!r}: anomalies are found in pictures, by a "
                "network of pictures"
            )
    aside: list[SetAside] = []
    inputs, _ = _prepared(network, normal, aside)
    if len(inputs) < 2:
        raise LayerwiseError(
            f"{len(inputs)} normal pictures of {normal.source!r} can be read; give 2 or more"
        )
    area = area_last = float("nan")
    chosen: tuple[str, ...] = tuple(layer.name for layer in _with_places(network, layers))
    if layers == "auto":
        chosen, area, area_last = _choose(network, inputs, chosen, seed)
    maps = _maps(network, inputs, chosen, "learning", progress)
    threshold = float("nan")
    if len(maps) >= 8:
        kept = fit(maps[::2])(maps[1::2]).scores
        threshold = kept.quantile(0.95).item()
    judge = fit(maps)
    asked, rows = _prepared(network, samples, aside)
    found = judge(_maps(network, asked, chosen, "judging", progress))
    order = found.scores.argsort(descending=True, stable=True)
    return Judged(
        names=tuple(samples.names[rows[i]] for i in order),
        rows=tuple(rows[i] for i in order),
        scores=found.scores[order],
        places=found.places[order],
        threshold=threshold,
        layers=chosen,
        area=area,
        area_last=area_last,
        area_pictures=_by_class(samples.take(rows), found.scores),
        set_aside=tuple(aside),
    )


def is_judge(method: object) -> bool:
    """Whether something learns normal maps by its `fit`, and judges others.

    Example:
        >>> is_judge(PatchCore), is_judge(stacked)
        (True, False)
    """
    own = vars(method) if isinstance(method, type) else {}
    return "fit" in own and required(own["fit"].__func__)[1:] == ("feature_map",)


def area_under_curve(truth: Tensor, scores: Tensor) -> float:
    """Chance that something true scores above something false, equals counting half.

    Args:
        truth: what is true.
        scores: the larger, the more likely true.

    Example:
        >>> area_under_curve(torch.tensor([True, False, False]), torch.tensor([2.0, 1.0, 2.0]))
        0.75
    """
    truth, scores = truth.flatten().bool(), scores.flatten().double()
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    yes = int(truth.sum())
    if yes in (0, len(truth)):
        return float("nan")
    return ((rank[truth].sum() - yes * (yes + 1) / 2) / (yes * (len(truth) - yes))).item()


def _with_places(network: Network, layers: str) -> Sequence[Layer]:
    found = network.layers.select("blocks" if layers == "auto" else layers)
    usable = [
        layer
        for layer in found
        if layer.layout is not None and layer.layout.grid is not None and min(layer.layout.grid) > 1
    ]
    if not usable or (layers != "auto" and len(usable) < len(found)):
        other = next(layer for layer in found if layer not in usable)
        raise LayerwiseError(
            f"layer {other.name!r} has no places in rows and columns; choose layers that give maps "
            "or tokens on a grid"
        )
    return usable


def _prepared(
    network: Network, samples: Samples, aside: list[SetAside]
) -> tuple[list[Tensor], list[int]]:
    found, rows = [], []
    for row in range(len(samples)):
        try:
            found.append(network.prepare(samples.load(row)))
            rows.append(row)
        except Unreadable as reason:
            aside.append(SetAside(samples.names[row], str(reason)))
    return found, rows


def _maps(
    network: Network,
    inputs: Sequence[Tensor],
    layers: Sequence[str],
    stage: str = "",
    progress: Callable[[str, int, int], None] | None = None,
) -> Float[Tensor, "n c h w"]:
    """Maps of layers, side by side on the finest grid."""
    parts = []
    for start in range(0, len(inputs), _BATCH):
        batch = network.batch(inputs[start : start + _BATCH])
        values = read(network, batch, layers)
        maps = [on_grid(network, network.layers[name], values[name], batch) for name in layers]
        parts.append(stacked([each.float() for each in maps]).cpu())
        if progress is not None:
            progress(stage, min(start + _BATCH, len(inputs)), len(inputs))
    return torch.cat(parts) if parts else torch.empty(0)


def _choose(
    network: Network, inputs: Sequence[Tensor], layers: Sequence[str], seed: int
) -> tuple[tuple[str, ...], float, float]:
    """The layer or pair that finds made-up defects best, with its area and the last layer's."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(inputs), generator=generator)[: 3 * _TRIED].tolist()
    if len(order) < 6:
        raise LayerwiseError(
            f"{len(order)} normal pictures are too few to choose layers by; name them with --layers"
        )
    third = len(order) // 3
    memory = [inputs[row] for row in order[:third]]
    tries = [torch.stack([inputs[r] for r in order[third * k : third * (k + 1)]]) for k in (1, 2)]
    trials = [synthetic_defects(each, generator=generator) for each in tries]
    stored = {name: _maps(network, memory, [name]) for name in layers}
    asked = [{n: _maps(network, list(odd), [n]) for n in layers} for odd, _ in trials]

    def area(names: Sequence[str], trial: int) -> float:
        known, odd = (stacked([maps[name] for name in names]) for maps in (stored, asked[trial]))
        scale = known.std((0, 2, 3)).clamp(min=1e-6)[:, None, None]
        places = averaged(known / scale).flatten(0, 1)
        places = places[torch.randperm(len(places), generator=generator)[: 4 * _REMEMBERED]]
        kept = places[coreset(places, min(_REMEMBERED, len(places)))]
        scores = PatchCore(kept)(odd / scale).places
        mask = nn.functional.adaptive_max_pool2d(trials[trial][1][:, None].float(), odd.shape[2:])
        return area_under_curve(mask[:, 0] > 0, scores)

    areas = {name: area([name], 0) for name in layers}
    best = max(areas, key=areas.__getitem__)
    pairs = {name: area([best, name], 0) for name in layers if name != best}
    names = [best]
    if pairs and max(pairs.values()) > areas[best]:
        names.append(max(pairs, key=pairs.__getitem__))
    chosen = tuple(name for name in layers if name in names)
    return chosen, area(chosen, 1), area([layers[-1]], 1)


def _by_class(samples: Samples, scores: Tensor) -> float:
    target = samples.targets.get("class")
    if target is None or not any(name.lower() in _GOOD for name in target.classes):
        return float("nan")
    good = torch.tensor([name.lower() in _GOOD for name in target.classes])
    known = target.known
    return area_under_curve(~good[target.values[known]], scores[known])
