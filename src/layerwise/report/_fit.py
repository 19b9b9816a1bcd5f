"""What a page leaves out when it would grow too large, the least missed first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from layerwise.atlas._atlas import Atlas, Score


def lighter(atlas: Atlas) -> Iterator[tuple[Atlas, tuple[str, ...]]]:
    """The atlas with less and less in it, and what is missing in sentences.

    Args:
        atlas: all of it; this is what comes first.
    """
    yield atlas, ()
    left_out: tuple[str, ...] = ()
    for less, what in (
        (_without_pictures, "What the layers see"),
        (_without_inside, "The look inside"),
        (_with_best_readouts, "Readouts that are not the best of their layer"),
        (_without_pairs, "Similarity between layers of different networks"),
        (_with_every_fourth_map, "Maps and neighbours at three of four layers"),
        (_without_thumbnails, "Pictures of the samples"),
        (_without_similarity, "Similarity between layers"),
    ):
        atlas = less(atlas)
        left_out = (*left_out, f"Left out to keep this page small, but in atlas.json: {what}.")
        yield atlas, left_out


def _without_pictures(atlas: Atlas) -> Atlas:
    return replace(atlas, pictures=())


def _without_inside(atlas: Atlas) -> Atlas:
    return replace(atlas, looked=(), inside=(), exemplars=())


def _with_best_readouts(atlas: Atlas) -> Atlas:
    best: dict[tuple[str, str, str], Score] = {}
    for score in atlas.scores:
        key = (score.target, score.network, score.layer)
        if key not in best or score.validation > best[key].validation:
            best[key] = score
    ways = {(s.target, s.network, s.layer, s.pooling, s.readout) for s in best.values()}
    candidates = tuple(
        each
        for each in atlas.candidates
        if each.front or (each.target, each.network, each.layer, each.pooling, each.readout) in ways
    )
    return replace(atlas, scores=tuple(best.values()), candidates=candidates)


def _without_pairs(atlas: Atlas) -> Atlas:
    own = tuple(each for each in atlas.similarity if each.network == each.other)
    return replace(atlas, similarity=own)


def _with_every_fourth_map(atlas: Atlas) -> Atlas:
    return replace(atlas, maps=atlas.maps[::4], neighbours=atlas.neighbours[::4])


def _without_thumbnails(atlas: Atlas) -> Atlas:
    return replace(atlas, shown=tuple(replace(each, picture="") for each in atlas.shown))


def _without_similarity(atlas: Atlas) -> Atlas:
    return replace(atlas, similarity=())
