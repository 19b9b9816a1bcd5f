"""The index on disk: right after every change, whole after a crash, read while it is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lance
import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Recipe
from layerwise.search import Faiss, Index, SuperGlobalSearch, Usearch

WIDTH = 16


def _rows(count: int, start: int = 0) -> tuple[list[str], list[str], Tensor]:
    generator = torch.Generator().manual_seed(start)
    keys = [f"k{i}" for i in range(start, start + count)]
    return keys, [f"{key}.jpg" for key in keys], torch.randn(count, WIDTH, generator=generator)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "birds", width=WIDTH)


def _expected(keys: list[str], vectors: Tensor, queries: Tensor, count: int) -> list[list[str]]:
    units = [nn.functional.normalize(x, dim=1) for x in (queries, vectors)]
    return [[keys[i] for i in row] for row in (units[0] @ units[1].T).topk(count).indices.tolist()]


def _keys(index: Index, queries: Tensor, count: int, **options: object) -> list[list[str]]:
    found = index.search(queries, count=count, **options)
    return [[hit.key for hit in hits] for hits in found]


@pytest.mark.parametrize("exact_below", [1000, 1])
def test_adding_removing_and_adding_again_keep_the_answers_right(
    tmp_path: Path, exact_below: int
) -> None:
    index = Index.open(tmp_path / "birds", width=WIDTH, exact_below=exact_below)
    keys, names, vectors = _rows(300)
    queries = torch.randn(5, WIDTH)
    assert index.add(keys[:200], names[:200], vectors[:200]) == 200
    built = index.finish(recall=1.0)
    assert (built is None) == (exact_below == 1000)
    assert built is None or built.recall == 1.0
    assert _keys(index, queries, 5) == _expected(keys[:200], vectors[:200], queries, 5)
    assert index.add(keys, names, vectors) == 100
    assert _keys(index, queries, 5) == _expected(keys, vectors, queries, 5)
    gone = {key for hits in _expected(keys, vectors, queries, 3) for key in hits}
    assert index.remove([*gone, "nobody"]) == len(gone)
    left = [i for i, key in enumerate(keys) if key not in gone]
    now = [keys[i] for i in left], vectors[left]
    assert _keys(index, queries, 5) == _expected(*now, queries, 5)
    index.finish(recall=1.0)
    assert _keys(index, queries, 5) == _expected(*now, queries, 5)
    assert index.add(keys, names, vectors) == len(gone)
    for each in (index, Index.open(index.path, exact_below=exact_below)):
        assert _keys(each, queries, 5) == _expected(keys, vectors, queries, 5)
        assert len(each) == 300


def test_hits_say_what_is_known(index: Index) -> None:
    keys, names, vectors = _rows(4)
    told = {"class": ["wren", None, "kite", "wren"], "size": torch.tensor([1.0, torch.nan, 3, 4])}
    index.add(keys, names, vectors, targets=told, source="birds")
    for exact_below in (10, 1):
        again = Index.open(index.path, exact_below=exact_below)
        hits = {hit.key: hit for hit in again.search(vectors[:1], count=4)[0]}
        assert dict(hits["k0"].targets) == {"class": "wren", "size": 1.0}
        assert dict(hits["k1"].targets) == {"class": None, "size": None}
        assert (hits["k2"].name, hits["k2"].source) == ("k2.jpg", "birds")
        assert hits["k0"].score == pytest.approx(1.0, abs=1e-5)
    assert index.targets == ("class", "size")
    assert index.keys(source="birds") == set(keys)
    assert index.add(keys[:1], ["again.jpg"], vectors[:1]) == 0
    assert index.tell(keys[:1], ["renamed.jpg"], targets={"class": ["owl"]}, source="other") == 1
    hit = index.search(vectors[:1], count=1)[0][0]
    assert (hit.name, hit.source, hit.targets["class"]) == ("renamed.jpg", "other", "owl")


def test_plain_lance_opens_it(index: Index) -> None:
    index.add(*_rows(9))
    table = lance.dataset(str(index.path / "items.lance")).to_table()
    assert {"key", "name", "search:vector"} <= set(table.column_names)


@pytest.mark.parametrize("fit", [Usearch.fit, Faiss.fit])
def test_other_engines_answer_the_same_call(index: Index, fit: object) -> None:
    keys, names, vectors = _rows(200)
    index.add(keys, names, vectors)
    assert _keys(index, vectors[:9], 5, fit=fit) == _keys(index, vectors[:9], 5)


def test_reranking_is_that_of_the_whole_gallery(index: Index) -> None:
    keys, names, vectors = _rows(80)
    index.add(keys, names, vectors)
    queries = torch.randn(3, WIDTH)
    ranked = SuperGlobalSearch.fit(vectors, first=40)(queries)
    expected = [[keys[i] for i in row[:10]] for row in ranked.rows.tolist()]
    assert _keys(index, queries, 10, first=40) == expected


def test_approximate_search_measures_its_recall(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "many", width=WIDTH, exact_below=2000)
    keys, names, _ = _rows(3000)
    centres = torch.randn(40, WIDTH)
    vectors = centres[torch.arange(3000) % 40] + 0.5 * torch.randn(3000, WIDTH)
    index.add(keys, names, vectors)
    built = index.finish()
    assert built is not None
    assert (built.rows, built == index.approximate) == (3000, True)
    assert built.recall >= 0.95
    queries = vectors[:50] + 0.1 * torch.randn(50, WIDTH)
    found, true = _keys(index, queries, 10), _expected(keys, vectors, queries, 10)
    agreed = [len(set(f) & set(t)) for f, t in zip(found, true, strict=True)]
    assert sum(agreed) / 500 > 0.9


def test_refuses_what_cannot_be_searched(index: Index, tmp_path: Path) -> None:
    with pytest.raises(LayerwiseError, match="holds 0 items; add some"):
        index.search(torch.ones(1, WIDTH))
    index.add(*_rows(3))
    with pytest.raises(LayerwiseError, match="holds 3 items; ask for 1 to 3 of them, not 4"):
        index.search(torch.ones(1, WIDTH), count=4)
    with pytest.raises(LayerwiseError, match=r"shape \[1, 5\] do not fit .* have 16 numbers"):
        index.search(torch.ones(1, 5), count=1)
    with pytest.raises(LayerwiseError, match="queries hold NaN"):
        index.search(torch.full((1, WIDTH), torch.nan), count=1)
    with pytest.raises(LayerwiseError, match="2 different keys, 3 names"):
        index.add(["a", "a", "b"], ["1", "2", "3"], torch.ones(3, WIDTH))
    with pytest.raises(LayerwiseError, match="there is no index at"):
        Index.open(tmp_path / "nowhere")


def test_networks_are_never_mixed(tmp_path: Path) -> None:
    ours = Recipe("a1b2", "Resize(224)", "float32", ())
    index = Index.open(tmp_path / "birds", width=WIDTH, made_with=ours)
    index.add(*_rows(3))
    Index.open(tmp_path / "birds", width=WIDTH, made_with=ours)
    for other in (
        Recipe("ffff", "Resize(224)", "float32", ()),
        Recipe("a1b2", "no", "float32", ()),
    ):
        with pytest.raises(LayerwiseError, match="was made differently"):
            Index.open(tmp_path / "birds", width=WIDTH, made_with=other)
    with pytest.raises(LayerwiseError, match="another form"):
        Index.open(tmp_path / "birds", width=5, made_with=ours)


WRITER = """
import sys, torch
from layerwise.search import Index
index = Index.open(sys.argv[1], width=16)
for n in range(10_000):
    keys = [f"{n}-{i}" for i in range(20)]
    index.add(keys, keys, torch.full((20, 16), float(n + 1)) + torch.eye(20, 16))
    print(n, flush=True)
    if n % 5 == 4:
        index.remove(keys[:10]); index.add(keys[:10], keys[:10], torch.rand(10, 16)); index.finish()
"""


def test_two_readers_see_whole_commits_while_one_writes_and_a_kill_loses_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "live"
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "0\n"
        readers = [Index.open(path), Index.open(path, exact_below=1)]
        told = 0
        while told < 12:
            for reader in readers:
                hits = reader.search(torch.ones(1, 16), count=10)[0]
                assert len(hits) == len({hit.key for hit in hits}) == 10
                assert len(reader) >= 20 * told - 10
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        committed = 1 + max([told, *map(int, writer.stdout.read().split())])
    after = Index.open(path)
    assert len(after) in range(20 * committed - 10, 20 * committed + 21)
    assert after.search(torch.ones(1, 16), count=5)
    after.add(["again"], ["again"], torch.ones(1, 16))
    assert after.keys() >= {"again"}


def test_a_second_writer_is_refused(index: Index) -> None:
    with index.store.writing(), pytest.raises(LayerwiseError, match="is writing to the store"):
        Index.open(index.path).add(*_rows(1))
