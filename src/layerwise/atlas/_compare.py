"""Two networks on the same data: which layers correspond, and where do the two part?

Both are read in one pass each. Layers are compared by what they make of the same samples: by CKA,
which has no direction, and by linear maps, which have one. Where the architectures are the same,
as before and after a fine-tuning, each layer is compared with itself, beside how far its weights
have moved. Intervals come from leaving out one of ten parts of the samples after the other (the
jackknife of Quenouille and Tukey).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas import _provenance
from layerwise.atlas._atlas import Provenance, Similarity
from layerwise.atlas._choose import Key
from layerwise.atlas._comparison import Comparison, Match, Same
from layerwise.atlas._comparison_words import comparison_words
from layerwise.atlas._files import save_comparison
from layerwise.atlas._geometry import similarity_of
from layerwise.atlas._looking import looking, placed
from layerwise.atlas._survey import (
    Progress,
    _Clock,
    _file_name,
    _layer_rows,
    _load,
    _make,
    _named,
    _network_row,
    _set_aside,
)
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.measures import cka, diagonality, map_r2
from layerwise.models import Network
from layerwise.taps import Extraction, extract

FORMAT = 1
_PARTS = 10
_MAPPED = 600  # samples for linear maps; more cost much and change little
_FEW = 50
_LEAST = 12

Rows = dict[str, Float[Tensor, "n _"]]
"""Features of a network's layers, mean over places, by address."""


def compare(
    network: Network,
    other: Network,
    samples: Samples,
    *,
    out: str | Path,
    layers: str | Iterable[str] = "blocks",
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Comparison:
    """Compare two networks, layer by layer. `out` then holds `comparison.json` and the features.

    Args:
        network: the first, as the pretrained one.
        other: the second, as the fine-tuned one; of the same modality, with another name.
        samples: the data; targets are not needed.
        out: folder for the result; made where there is none.
        layers: addresses or patterns, for both.
        seed: of what is drawn.
        workers: processes that decode samples.
        progress: called as `progress(stage, done, total)`.
        command: what was typed, for the provenance.

    Raises:
        LayerwiseError: two networks of one name, too few samples that both could read, or what
            `extract` refuses.
    """
    named = _named([network, other])
    out = Path(out)
    _make(out)
    clock = _Clock(progress)
    extractions: dict[str, Extraction] = {}
    for name, each in named.items():
        with clock.stage(f"reading {name}"):
            extractions[name] = extract(
                each,
                samples,
                out / "features" / f"{_file_name(name)}.lance",
                layers=layers,
                workers=workers,
                progress=progress,
            )
    with clock.stage("loading"):
        rows, features = _load(samples, extractions)
    if len(rows) < _LEAST:
        raise LayerwiseError(
            f"{len(rows)} samples could be read by both networks; give at least {_LEAST}, and "
            "better some hundreds, to compare layers"
        )
    known = samples.take(rows)
    with clock.stage("costs"):
        listed = _layer_rows(named, known, extractions, features)
    one, two = (_means(features, name) for name in named)
    with clock.stage("comparing layers"):
        similarity = similarity_of(features, list(named))
        ends = _intervals(one, two)
    with clock.stage("mapping layers"):
        told = _told(named, one, two)
    depths = {(row.network, row.layer): row.depth for row in listed}
    with clock.stage("looking and places"):
        heads = tuple(row for each in named.values() for row in looking(each, known, seed))
        places = tuple(row for each in named.values() for row in placed(each, known, seed))
    across = next(s for s in similarity if (s.network, s.other) == tuple(named))
    same = _same(network, other, across, told[0], depths=depths, ends=ends)
    found = Comparison(
        format=FORMAT,
        provenance=Provenance(
            command=command,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_provenance.versions(),
            machine=_provenance.machine(network.device),
            seeds=(seed,),
            data=samples.source,
            data_sha256=_provenance.hash_of(samples.keys),
            samples=len(rows),
            seconds=dict(clock.seconds),
            reused={name: extraction.reused for name, extraction in extractions.items()},
        ),
        networks=tuple(_network_row(each, extractions[each.name]) for each in named.values()),
        layers=listed,
        similarity=similarity,
        told=told,
        diagonality=_diagonality(across),
        told_diagonality=_diagonality(told[0]),
        matches=_matches(across, told, depths=depths, ends=ends),
        same=same,
        looking=heads,
        placed=places,
        set_aside=_set_aside(samples, extractions),
        enough=len(rows) >= _FEW,
        words="",
    )
    found = comparison_words(found)
    save_comparison(found, out)
    return found


def _means(features: Mapping[Key, Tensor], network: str) -> Rows:
    return {k[1]: v for k, v in features.items() if k[0] == network and k[2] == "mean"}


def _intervals(one: Rows, two: Rows) -> tuple[Float[Tensor, "l m"], Float[Tensor, "l m"]]:
    """Ends of the 95 % interval of CKA between the layers of two networks."""
    mine, theirs = list(one.values()), list(two.values())
    whole = cka(mine, theirs).double()
    count = len(mine[0])
    parts = min(_PARTS, count // 4)
    part = torch.arange(count) % parts
    pseudo = torch.stack(
        [
            parts * whole
            - (parts - 1)
            * cka([v[part != i] for v in mine], [v[part != i] for v in theirs]).double()
            for i in range(parts)
        ]
    )
    error = 2.26 * pseudo.std(0) / math.sqrt(parts)  # Student's quantile for ten parts
    return whole - error, whole + error


def _told(named: Mapping[str, Network], one: Rows, two: Rows) -> tuple[Similarity, Similarity]:
    """R2 of the linear maps from the first network to the second, and back."""
    names = list(named)
    count = len(next(iter(one.values())))
    few = torch.linspace(0, count - 1, min(count, _MAPPED)).long()
    mine, theirs = ({k: v[few] for k, v in side.items()} for side in (one, two))
    found = []
    for (a, x), (b, y) in (
        ((names[0], mine), (names[1], theirs)),
        ((names[1], theirs), (names[0], mine)),
    ):
        table = map_r2(list(x.values()), list(y.values())).tolist()
        found.append(Similarity(a, b, tuple(x), tuple(y), _plain(table)))
    return found[0], found[1]


def _plain(table: Sequence[Sequence[float]]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(v if math.isfinite(v) else None for v in row) for row in table)


def _tensor(similarity: Similarity) -> Float[Tensor, "l m"]:
    values = [[math.nan if v is None else v for v in row] for row in similarity.values]
    return torch.tensor(values, dtype=torch.float64)


def _diagonality(similarity: Similarity) -> float | None:
    values = _tensor(similarity)
    return float(diagonality(values)) if min(values.shape) > 1 else None


def _matches(
    across: Similarity,
    told: tuple[Similarity, Similarity],
    *,
    depths: Mapping[tuple[str, str], float],
    ends: tuple[Tensor, Tensor],
) -> tuple[Match, ...]:
    """For every layer of either network its partner in the other; none for what never changes."""
    found = []
    for side in (0, 1):
        values = _tensor(across)
        names = (across.network, across.layers), (across.other, across.other_layers)
        (name, layers), (other, others) = names if side == 0 else names[::-1]
        turned = [t if side == 0 else t.T for t in (values, *ends)]
        maps = told[side].values
        for i, layer in enumerate(layers):
            row = turned[0][i]
            if bool(row.isnan().all()):
                continue
            j = int(row.nan_to_num(-math.inf).argmax())
            depth, partner = depths[name, layer], depths[other, others[j]]
            found.append(
                Match(
                    network=name,
                    layer=layer,
                    depth=depth,
                    other=other,
                    other_layer=others[j],
                    other_depth=partner,
                    cka=float(row[j]),
                    low=float(turned[1][i, j]),
                    high=float(turned[2][i, j]),
                    apart=partner - depth,
                    told=maps[i][j],
                )
            )
    return tuple(found)


def _same(
    network: Network,
    other: Network,
    across: Similarity,
    told: Similarity,
    *,
    depths: Mapping[tuple[str, str], float],
    ends: tuple[Tensor, Tensor],
) -> tuple[Same, ...]:
    """Each layer against itself, where both networks have the same weights by name and shape."""
    mine, theirs = network.module.state_dict(), other.module.state_dict()
    if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
        return ()
    found = []
    for i, layer in enumerate(across.layers):
        value = across.values[i][i]
        if across.other_layers != across.layers or value is None:
            continue
        own = [k for k in mine if k.startswith(f"{layer.split('[')[0]}.")]
        own = [k for k in own if mine[k].is_floating_point()]
        moved = sum(float((theirs[k].double() - mine[k].double()).square().sum()) for k in own)
        size = sum(float(mine[k].double().square().sum()) for k in own)
        found.append(
            Same(
                layer=layer,
                depth=depths[across.network, layer],
                cka=value,
                low=float(ends[0][i, i]),
                high=float(ends[1][i, i]),
                told=told.values[i][i],
                changed=math.sqrt(moved / size) if size else None,
            )
        )
    return tuple(found)
