"""What chosen layers gain over the last one in retrieval, on samples that did not choose them.

    python benchmarks/retrieval.py [--networks NAME...] [--data NAME...] [--seeds 0 1 2]

For each seed other samples are taken from the built-in photographs (by photo) and from
`../shared/data/cifar10_small.zip` (by class), and an index is made as `layerwise index DATA
--network A --layers auto` makes it: one half chooses layers, poolings and combination by
leave-one-out retrieval, the other half scores, groups and copies never on both sides. The last
layer is given its own best pooling on the half that chooses. Rows that are not measured again stay.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from _results import Row, keep, machine
from rich.console import Console

import layerwise
from layerwise.search import Choice, index_samples

_CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10_small.zip"
DATA = {"photos": "photos", "cifar10_small": str(_CIFAR)}
_RESULTS = Path(__file__).parent / "results" / "retrieval.json"
NETWORKS = ("efficientnet-lite0", "dinov2-small")


def choices(network: str, data: str, given: argparse.Namespace) -> list[Choice]:
    """What is chosen with each seed."""
    opened = layerwise.open(network)
    found = []
    for seed in given.seeds:
        samples = layerwise.data.open(DATA[data], limit=given.limit, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            card = index_samples(opened, samples, f"{folder}/index", seed=seed).card
        assert card.choice is not None
        found.append(card.choice)
    return found


def row_of(network: str, data: str, found: list[Choice]) -> Row:
    """Means over the seeds, and the smallest and largest gain."""
    gains = [each.precision - each.precision_last for each in found]
    names = Counter(name for each in found for name in each.names)
    return {
        "data": data,
        "network": network,
        "chosen, of so many seeds": ", ".join(f"{name} {n}" for name, n in names.most_common(4)),
        "mAP": statistics.mean(each.precision for each in found),
        "mAP, last layer": statistics.mean(each.precision_last for each in found),
        "smallest gain": min(gains),
        "largest gain": max(gains),
        "R@1": statistics.mean(each.first for each in found),
        "R@1, last layer": statistics.mean(each.first_last for each in found),
        "samples that score": statistics.mean(each.scored_on for each in found),
    }


def main() -> None:
    """Choose and score with every network on every set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=400, help="samples of each seed")
    given = parser.parse_args()
    facts = machine()
    held = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {"rows": [], "details": {}}
    rows: dict[tuple[str, str], Row] = {(row["data"], row["network"]): row for row in held["rows"]}
    details: dict[str, list[str]] = dict(held["details"])
    for data in given.data:
        if data != "photos" and not _CIFAR.exists():
            row = {"data": data, "network": "left out: no folder ../shared"}
            rows.setdefault((data, row["network"]), row)
            continue
        for network in given.networks:
            found = choices(network, data, given)
            rows[data, network] = row_of(network, data, found)
            details[f"{data}, {network}, {given.limit} samples"] = [each.words for each in found]
            keep("retrieval", facts, list(rows.values()), details)
    Console(width=200).print(keep("retrieval", facts, list(rows.values()), details))


if __name__ == "__main__":
    main()
