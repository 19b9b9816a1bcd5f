"""Search engines at equal vectors.

    python benchmarks/search.py [--sizes 10000 100000] [--kinds clouds patches]

Vectors are 384 wide: either drawn around 200 centres (`clouds`), or what the last block of
DINOv2-S says of the patches of crops of the built-in photographs (`patches`; queries come from
crops of their own). Every engine runs in a process of its own and answers 100 queries one by one;
its build and its answers are timed in CPU seconds, peak memory is what it needs beyond the vectors
and the imports, and recall is the share of the true ten nearest. Engines that trade time for recall
are asked with several efforts: the table shows the first that finds 95 %, or the last, and the best
recall within a tenth of the time of numpy's brute force. Packages that are not installed are left
out by name (`pip install usearch faiss-cpu hnswlib`), and so is what takes more than `--memory` or
`--patience`. Rows that are not measured again stay in the table (`--engines` picks some); each
keeps the load of its own run in the file of results.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _results import Row, keep, machine, resident
from rich.console import Console

_WIDTH, _ASKED, _COUNT = 384, 100, 10
_EFFORTS = (10, 20, 40, 80, 160, 320)
_LINKS, _BUILDING = 16, 128
_PART = 65_536
_RESULTS = Path(__file__).parent / "results" / "search.json"

Ask = Callable[[np.ndarray], np.ndarray]
Engine = Callable[[int], Ask]
"""The search at an effort."""


def numpy_brute(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """One product and a partial sort."""

    def ask(query: np.ndarray) -> np.ndarray:
        scores = rows @ query
        best = np.argpartition(-scores, _COUNT)[:_COUNT]
        return best[np.argsort(-scores[best])]

    return lambda _: ask, (0,)


def neighbours(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """`layerwise.search.Neighbours`."""
    from layerwise.search import Neighbours

    return _ours(Neighbours, rows)


def usearch_ours(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """`layerwise.search.Usearch`."""
    from layerwise.search import Usearch

    return _ours(Usearch, rows)


def faiss_ours(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """`layerwise.search.Faiss`."""
    from layerwise.search import Faiss

    return _ours(Faiss, rows)


def _ours(kind: Any, rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    import torch

    index = kind.fit(torch.from_numpy(rows))
    return (
        lambda _: lambda query: index(torch.from_numpy(query)[None], count=_COUNT).rows[0].numpy()
    ), (0,)


def layerwise_index(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """`layerwise.search.Index` on disk, by Lance's vector index; the efforts are its probes."""
    from dataclasses import replace

    import torch

    from layerwise.search import Index

    index = Index.open(Path(tempfile.mkdtemp()) / "index", width=_WIDTH, exact_below=len(rows))
    for start in range(0, len(rows), _PART):
        part = torch.from_numpy(rows[start : start + _PART])
        keys = [str(row) for row in range(start, start + len(part))]
        index.add(keys, keys, part)
    built = index.finish()
    assert built is not None

    def engine(probes: int) -> Ask:
        replace(built, probes=probes).write(index.path / "approximate.json")

        def ask(query: np.ndarray) -> np.ndarray:
            hits = index.search(torch.from_numpy(query)[None], count=_COUNT)[0]
            return np.array([int(hit.key) for hit in hits])

        return ask

    return engine, [probes for probes in (1, 2, 4, 8, 16, 32, 64) if probes <= built.cells]


def faiss_flat(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """faiss, exact."""
    import faiss

    index = faiss.IndexFlatIP(_WIDTH)
    index.add(rows)
    return lambda _: lambda query: index.search(query[None], _COUNT)[1][0], (0,)


def faiss_graph(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """Graph of faiss."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(_WIDTH, _LINKS)
    index.hnsw.efConstruction = _BUILDING
    index.add(rows)

    def engine(effort: int) -> Ask:
        index.hnsw.efSearch = effort
        return lambda query: index.search(query[None], _COUNT)[1][0]

    return engine, _EFFORTS


def usearch_graph(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """Graph of usearch."""
    from usearch.index import Index

    index = Index(
        ndim=_WIDTH,
        metric="l2sq",
        dtype="f32",
        connectivity=_LINKS,
        expansion_add=_BUILDING,
    )
    index.add(np.arange(len(rows)), rows, threads=1)

    def engine(effort: int) -> Ask:
        index.expansion_search = effort
        return lambda query: index.search(query, _COUNT, threads=1).keys.astype(int)

    return engine, _EFFORTS


def hnswlib_graph(rows: np.ndarray) -> tuple[Engine, Sequence[int]]:
    """Graph of hnswlib."""
    import hnswlib

    index = hnswlib.Index("ip", _WIDTH)
    index.init_index(len(rows), ef_construction=_BUILDING, M=_LINKS)
    index.add_items(rows, num_threads=1)

    def engine(effort: int) -> Ask:
        index.set_ef(effort)
        return lambda query: index.knn_query(query[None], _COUNT, num_threads=1)[0][0]

    return engine, _EFFORTS


ENGINES = {
    "numpy, brute force": numpy_brute,
    "faiss flat": faiss_flat,
    "layerwise Neighbours": neighbours,
    "faiss graph": faiss_graph,
    "layerwise Faiss": faiss_ours,
    "usearch": usearch_graph,
    "layerwise Usearch": usearch_ours,
    "hnswlib": hnswlib_graph,
    "layerwise Index on disk": layerwise_index,
}


def clouds(size: int) -> np.ndarray:
    """Rows around 200 centres, then the queries."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, _WIDTH)).astype(np.float32)
    rows = np.empty((size + _ASKED, _WIDTH), dtype=np.float32)
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part *= 1.2
        part += centres[rng.integers(0, 200, len(part))]
    return rows


def patches(size: int) -> np.ndarray:
    """What DINOv2-S says of patches of random crops, then of the queries' own crops."""
    import torch

    import layerwise

    network = layerwise.open("dinov2-small")
    photographs = layerwise.data.open("photos")
    rng = np.random.default_rng(0)
    layer = network.layers.select("blocks")[-1].name
    rows = np.empty((size + _ASKED, _WIDTH), dtype=np.float32)
    filled = 0
    while filled < len(rows):
        pictures = []
        for _ in range(8):
            picture = photographs.load(int(rng.integers(len(photographs))))
            side = float(rng.uniform(0.4, 1.0)) * min(picture.size)
            left, top = (float(rng.uniform(0, edge - side)) for edge in picture.size)
            box = (int(left), int(top), int(left + side), int(top + side))
            pictures.append(network.prepare(picture.crop(box)))
        found = layerwise.read(network, torch.stack(pictures), layer)[layer][:, 1:]
        # The queries are one patch of a crop each, so that they are no neighbours of each other.
        kept = found.flatten(0, 1) if filled < size else found[:, 100]
        kept = kept[: (size if filled < size else len(rows)) - filled]
        rows[filled : filled + len(kept)] = kept.numpy()
        filled += len(kept)
    return rows


KINDS = {"clouds": clouds, "patches": patches}


def prepare(kind: str, size: int, folder: Path) -> Path:
    """Write rows, queries and the true nearest of these, once."""
    path = folder / f"{kind}-{size}.npy"
    if path.exists():
        return path
    rows = KINDS[kind](size)
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    rows, queries = rows[:size], rows[size:]
    near = []
    for query in queries:
        scores = rows @ query
        best = np.argpartition(-scores, _COUNT)[:_COUNT]
        near.append(best[np.argsort(-scores[best])])
    np.savez(path.with_suffix(".asked.npz"), queries=queries, near=np.stack(near))
    np.save(path, rows)
    return path


def measure(name: str, path: Path, memory: float, patience: int) -> dict[str, Any]:
    """Build one engine and ask it with every effort, in this process."""
    import torch

    torch.set_num_threads(1)
    rows, asked = np.load(path), np.load(path.with_suffix(".asked.npz"))
    queries, near = asked["queries"], asked["near"]
    limit = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))
    ENGINES[name](rows[:100])  # what is imported is no part of the build
    before, start = resident("VmRSS", afresh=True), time.process_time()
    engine, efforts = ENGINES[name](rows)
    built = time.process_time() - start
    tried = []
    for effort in efforts:
        ask = engine(effort)
        ask(queries[0])
        start = time.process_time()
        found = [ask(query) for query in queries]
        took = (time.process_time() - start) / len(queries)
        hits = [len(set(f.tolist()) & set(t.tolist())) for f, t in zip(found, near, strict=True)]
        tried.append({"effort": effort, "ms": 1000 * took, "recall": sum(hits) / near.size})
    peak = resident("VmHWM") - before
    return {"build s": built, "tried": tried, "peak MB": peak}


def row_of(name: str, kind: str, size: int, numbers: dict[str, Any], budget: float) -> Row:
    """What the table says of an engine."""
    tried = numbers["tried"]
    shown = next((each for each in tried if each["recall"] >= 0.95), tried[-1])
    within = [each["recall"] for each in tried if each["ms"] <= budget]
    return {
        "engine": name,
        "vectors": f"{size:,} {kind}",
        "build s": numbers["build s"],
        "ms a query": shown["ms"],
        "recall at 10": shown["recall"],
        "recall within a tenth of brute force": max(within, default=None),
        "peak MB beyond the vectors": numbers["peak MB"],
    }


def main() -> None:
    """Measure every engine in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "VECTORS"))
    parser.add_argument("--memory", type=float, default=6.0, help="GiB that an engine may take")
    parser.add_argument("--patience", type=int, default=900, help="CPU s that an engine may take")
    parser.add_argument("--folder", type=Path, help="where vectors are kept for another run")
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(
            json.dumps(measure(given.one[0], Path(given.one[1]), given.memory, given.patience))
        )
        return
    facts = machine("usearch", "faiss-cpu", "hnswlib", "pylance")
    folder = given.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {"rows": [], "details": {}}
    rows = {(row["engine"], row["vectors"]): row for row in earlier["rows"]}
    details = {"left out": {}, "measured": {}, **earlier["details"]}
    for size in given.sizes:
        for kind in given.kinds:
            path = prepare(kind, size, folder)
            for name in given.engines:
                words = [sys.executable, __file__, "--one", name, str(path)]
                words += ["--memory", str(given.memory), "--patience", str(given.patience)]
                load = os.getloadavg()[0]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                title = f"{name}, {size:,} {kind}"
                if done.returncode:
                    said = done.stderr.strip().splitlines() or [f"signal {-done.returncode}"]
                    late = -done.returncode in (signal.SIGXCPU, signal.SIGKILL)
                    why = f"takes over {given.patience} CPU s" if late else said[-1]
                    details["left out"][title] = why
                    row = {"engine": name, "vectors": f"{size:,} {kind}", "build s": why}
                    rows.setdefault((name, f"{size:,} {kind}"), row)
                    keep("search", facts, list(rows.values()), details)
                    continue
                details["left out"].pop(title, None)
                numbers = json.loads(done.stdout.splitlines()[-1])
                details["measured"][title] = {**numbers, "load": load}
                brute = rows.get((next(iter(ENGINES)), f"{size:,} {kind}"))
                budget = float(brute["ms a query"] if brute else numbers["tried"][0]["ms"]) / 10
                row = row_of(name, kind, size, numbers, budget)
                rows[row["engine"], row["vectors"]] = row
                keep("search", facts, list(rows.values()), details)
                Console(width=200).print(row)
    table = keep("search", facts, list(rows.values()), details)
    Console(width=200).print(table, details["left out"])


if __name__ == "__main__":
    main()
