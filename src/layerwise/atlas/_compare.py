"""Two networks on the same data: which layers correspond, and where do the two part?

Both are read in one pass each. Layers are compared by what they make of the same samples: by CKA,
which has no direction, and by linear maps, which have one. Where the architectures are the same,
as before and after a fine-tuning, each layer is compared with itself, beside how far its weights
have moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from layerwise.atlas import _provenance
from layerwise.atlas._atlas import Provenance
from layerwise.atlas._clock import Clock, Progress
from layerwise.atlas._comparison import Comparison
from layerwise.atlas._comparison_words import comparison_words
from layerwise.atlas._files import save_comparison
from layerwise.atlas._geometry import similarity_of
from layerwise.atlas._leaderboard import prices
from layerwise.atlas._looking import looking, places_of
from layerwise.atlas._matching import (
    diagonality_of,
    intervals,
    matches_of,
    same_of,
    told_of,
)
from layerwise.atlas._pass import (
    layer_rows,
    load_features,
    make_folder,
    named_networks,
    network_row,
    pooled_by_mean,
    set_aside,
    store_of,
)
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps import Extraction, extract

FORMAT = 1
_FEW = 50
_LEAST = 12


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
    named = named_networks([network, other])
    out = Path(out)
    make_folder(out)
    clock = Clock(progress)
    extractions: dict[str, Extraction] = {}
    for name, each in named.items():
        with clock.stage(f"reading {name}"):
            extractions[name] = extract(
                each,
                samples,
                store_of(out, name),
                layers=layers,
                workers=workers,
                progress=progress,
            )
    with clock.stage("loading"):
        rows, features = load_features(samples, extractions)
    if len(rows) < _LEAST:
        raise LayerwiseError(
            f"{len(rows)} samples could be read by both networks; give at least {_LEAST}, and "
            "better some hundreds, to compare layers"
        )
    known = samples.take(rows)
    with clock.stage("costs"):
        priced = {at: cost for each in named.values() for at, cost in prices(each, known).items()}
        listed = layer_rows(named, extractions, features, priced)
    one, two = (pooled_by_mean(features, name) for name in named)
    with clock.stage("comparing layers"):
        similarity = similarity_of(features, list(named))
        ends = intervals(one, two)
    with clock.stage("mapping layers"):
        told = told_of(named, one, two)
    depths = {(row.network, row.layer): row.depth for row in listed}
    with clock.stage("looking and places"):
        heads = tuple(row for each in named.values() for row in looking(each, known, seed))
        places = [places_of(each, known, seed) for each in named.values()]
    across = next(s for s in similarity if (s.network, s.other) == tuple(named))
    same = same_of(network, other, across, told[0], depths=depths, ends=ends)
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
        networks=tuple(
            network_row(each, extractions[name], pooled_by_mean(features, name))
            for name, each in named.items()
        ),
        layers=listed,
        similarity=similarity,
        told=told,
        diagonality=diagonality_of(across),
        told_diagonality=diagonality_of(told[0]),
        matches=matches_of(across, told, depths=depths, ends=ends),
        same=same,
        looking=heads,
        placed=tuple(row for rows, _ in places for row in rows),
        probed=tuple(row for _, rows in places for row in rows),
        set_aside=set_aside(samples, extractions),
        enough=len(rows) >= _FEW,
        words="",
    )
    found = comparison_words(found)
    save_comparison(found, out)
    return found
