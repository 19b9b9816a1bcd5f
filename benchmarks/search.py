"""Search engines at equal vectors, and chosen layers against the last one.

    python benchmarks/search.py [--sizes 10000 100000] [--layers] [--limit 1000]

Vectors are 384 wide and lie in 200 clouds, as features do. Every engine runs in a process of its
own and answers 100 queries one by one; its build and its answers are timed in CPU seconds, peak
memory is what it needs beyond the vectors and the imports, and recall is the share of the true ten
nearest. Packages that are not installed are left out by name (`pip install usearch faiss-cpu
hnswlib`). `--layers` also makes indexes of `photos` and of `../shared/data/cifar10_small.zip` and
says what the chosen layers gain, on samples that did not choose them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _results import Row, keep, machine, resident
from rich.console import Console

_WIDTH, _ASKED, _COUNT = 384, 100, 10

Ask = Callable[[np.ndarray], np.ndarray]


def numpy_brute(rows: np.ndarray) -> Ask:
    """One product and a partial sort."""

    def ask(query: np.ndarray) -> np.ndarray:
        scores = rows @ query
        best = np.argpartition(-scores, _COUNT)[:_COUNT]
        return best[np.argsort(-scores[best])]

    return ask


def neighbours(rows: np.ndarray) -> Ask:
    """`layerwise.search.Neighbours`."""
    import torch

    from layerwise.search import Neighbours

    index = Neighbours.fit(torch.from_numpy(rows))
    return lambda query: index(torch.from_numpy(query)[None], count=_COUNT).rows[0].numpy()


def layerwise_index(rows: np.ndarray) -> Ask:
    """`layerwise.search.Index` on disk: exact below 100,000, Lance's vector index above."""
    import torch

    from layerwise.search import Index

    index = Index.open(Path(tempfile.mkdtemp()) / "index", width=_WIDTH, exact_below=len(rows))
    keys = [str(row) for row in range(len(rows))]
    index.add(keys, keys, torch.from_numpy(rows))
    index.finish()

    def ask(query: np.ndarray) -> np.ndarray:
        hits = index.search(torch.from_numpy(query)[None], count=_COUNT)[0]
        return np.array([int(hit.key) for hit in hits])

    return ask


def usearch_graph(rows: np.ndarray) -> Ask:
    """`layerwise.search.Usearch`."""
    import torch

    from layerwise.search import Usearch

    index = Usearch.fit(torch.from_numpy(rows))
    return lambda query: index(torch.from_numpy(query)[None], count=_COUNT).rows[0].numpy()


def faiss_flat(rows: np.ndarray) -> Ask:
    """faiss, exact."""
    import faiss

    index = faiss.IndexFlatIP(_WIDTH)
    index.add(rows)
    return lambda query: index.search(query[None], _COUNT)[1][0]


def faiss_graph(rows: np.ndarray) -> Ask:
    """`layerwise.search.Faiss`."""
    import torch

    from layerwise.search import Faiss

    index = Faiss.fit(torch.from_numpy(rows))
    return lambda query: index(torch.from_numpy(query)[None], count=_COUNT).rows[0].numpy()


def hnswlib_graph(rows: np.ndarray) -> Ask:
    """Graph of hnswlib with the same links and effort."""
    import hnswlib

    index = hnswlib.Index("ip", _WIDTH)
    index.init_index(len(rows), ef_construction=128, M=16)
    index.add_items(rows, num_threads=1)
    index.set_ef(128)
    return lambda query: index.knn_query(query[None], _COUNT, num_threads=1)[0][0]


ENGINES = {
    "numpy, brute force": numpy_brute,
    "layerwise Neighbours": neighbours,
    "layerwise Index, vector index on disk": layerwise_index,
    "layerwise Usearch": usearch_graph,
    "faiss flat": faiss_flat,
    "layerwise Faiss": faiss_graph,
    "hnswlib": hnswlib_graph,
}


def vectors(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored rows and queries of length 1."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, _WIDTH)).astype(np.float32)

    def drawn(count: int) -> np.ndarray:
        noise = rng.normal(size=(count, _WIDTH)).astype(np.float32)
        rows = centres[rng.integers(0, 200, count)] + 1.2 * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return drawn(size), drawn(_ASKED)


def measure(name: str, size: int) -> dict[str, float]:
    """Build one engine and ask it, in this process."""
    import torch

    torch.set_num_threads(1)
    rows, queries = vectors(size)
    truth = np.argsort(-(queries @ rows.T), axis=1)[:, :_COUNT]
    before, start = resident("VmRSS", afresh=True), time.process_time()
    ask = ENGINES[name](rows)
    built = time.process_time() - start
    ask(queries[0])
    start = time.process_time()
    found = [ask(query) for query in queries]
    asked = (time.process_time() - start) / len(queries)
    hits = [len(set(f.tolist()) & set(t.tolist())) for f, t in zip(found, truth, strict=True)]
    return {
        "build s": built,
        "ms a query": 1000 * asked,
        "recall at 10": sum(hits) / (_COUNT * len(hits)),
        "peak MB beyond the vectors": resident("VmHWM") - before,
    }


def chosen_layers(limit: int) -> list[Row]:
    """What chosen layers gain over the last one, on samples that did not choose."""
    import layerwise
    from layerwise.search import index_samples

    shared = Path(__file__).parents[2] / "shared" / "data" / "cifar10_small.zip"
    rows: list[Row] = []
    for source in ("photos", str(shared)):
        if source != "photos" and not shared.exists():
            continue
        samples = layerwise.data.open(source, limit=limit)
        network = layerwise.open("efficientnet-lite0")
        with tempfile.TemporaryDirectory() as folder:
            choice = index_samples(network, samples, f"{folder}/index").card.choice
        if choice is None:
            continue
        rows.append(
            {
                "data": f"{Path(source).stem}, {len(samples)} samples",
                "chosen": " + ".join(choice.names),
                "mAP": choice.precision,
                "mAP, last layer": choice.precision_last,
                "gain, low": choice.low,
                "gain, high": choice.high,
                "R@1": choice.first,
                "R@1, last layer": choice.first_last,
            }
        )
    return rows


def main() -> None:
    """Measure every engine in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "SIZE"))
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--limit", type=int, default=1000)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    facts = machine("usearch", "faiss-cpu", "hnswlib", "pylance")
    rows: list[Row] = []
    left_out: dict[str, Any] = {}
    for size in given.sizes:
        for name in ENGINES:
            words = [sys.executable, __file__, "--one", name, str(size)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                left_out[f"{name}, {size}"] = done.stderr.strip().splitlines()[-1:]
                continue
            numbers = json.loads(done.stdout.splitlines()[-1])
            rows.append({"engine": name, "vectors": size, **numbers})
    layers = chosen_layers(given.limit) if given.layers else []
    table = keep("search", facts, rows, {"left out": left_out, "layers": layers})
    Console(width=200).print(table, layers, left_out)


if __name__ == "__main__":
    main()
