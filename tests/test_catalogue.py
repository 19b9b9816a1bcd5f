"""The catalogue says what the files say, without importing them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from layerwise._catalogue import Entry, catalogue, search, unlisted

METHODS = catalogue()

FILE = '''
@final
@paper("On {name}", year=2020, arxiv="2001.00001", no=(7, 8), needs=("timm",))
class {name}:
    """Finds {name}.

    More of it.
    """
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    room = tmp_path / "search"
    room.mkdir()
    for name in ("NearestMean", "Whitening", "Forgotten"):
        (room / f"_{name.lower()}.py").write_text(FILE.format(name=name))
    (room / "_plain.py").write_text("def plain() -> None: ...\n")
    (room / "__init__.py").write_text(
        "from layerwise.search._nearestmean import NearestMean\n"
        "from layerwise.search._whitening import Whitening\n"
        "from layerwise.search._plain import plain\n"
    )
    return tmp_path


def test_reads_menu_mark_and_docstring(source: Path) -> None:
    assert catalogue(source)[0] == Entry(
        room="search",
        name="NearestMean",
        title="On NearestMean",
        year=2020,
        arxiv="2001.00001",
        numbers=(7, 8),
        needs=("timm",),
        summary="Finds NearestMean.",
        path="search/_nearestmean.py",
    )
    assert [entry.name for entry in catalogue(source)] == ["NearestMean", "Whitening"]


def test_finds_what_no_menu_names(source: Path) -> None:
    assert [entry.name for entry in unlisted(source)] == ["Forgotten"]


def test_every_marked_method_is_in_a_menu() -> None:
    assert unlisted() == ()


def test_no_name_stands_twice() -> None:
    twice = [
        name for name, count in Counter((e.room, e.name) for e in METHODS).items() if count > 1
    ]
    assert not twice


def test_search_ranks_the_name_above_the_title_and_leaves_out_the_rest(source: Path) -> None:
    entries = catalogue(source)
    assert [entry.name for entry in search("mean", entries)] == ["NearestMean"]
    assert search("whiten search", entries)[0].name == "Whitening"
    assert len(search("P008", entries)) == 2
    assert search("zebra", entries) == ()


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: f"{entry.room}.{entry.name}")
def test_the_file_says_what_the_object_says(entry: Entry) -> None:
    method = getattr(import_module(f"layerwise.{entry.room}"), entry.name)
    mark = method.__paper__
    assert (mark.title, mark.year, mark.arxiv) == (entry.title, entry.year, entry.arxiv)
    assert (mark.no, mark.needs) == (entry.numbers, entry.needs)
    assert inspect.getdoc(method).splitlines()[0] == entry.summary
    assert entry.summary.endswith(".")
    assert all(1 <= number <= 267 for number in entry.numbers)


def test_reading_imports_neither_torch_nor_a_room() -> None:
    code = (
        "import sys; from layerwise import catalogue; catalogue();"
        "print([m for m in sys.modules if m == 'torch' or m.startswith('layerwise.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['layerwise._catalogue']"
