"""The list of all methods, read from the source files without importing them.

A method is what a room's `__init__.py` imports from one of its files and what `@paper` marks there.
There is no second list: to add a method is to write its file and its line in the menu.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

_SOURCE = Path(__file__).parent


@final
@dataclass(frozen=True)
class Entry:
    """A method, and the paper it comes from.

    Args:
        room: the room that holds it.
        name: its public name in that room.
        title: title of the paper.
        year: year of publication.
        arxiv: arXiv number, or an empty string.
        numbers: the paper's numbers in this project's list.
        needs: optional packages that it imports when it is used.
        summary: first line of its docstring.
        path: its file, relative to the package.
    """

    room: str
    name: str
    title: str
    year: int
    arxiv: str
    numbers: tuple[int, ...]
    needs: tuple[str, ...]
    summary: str
    path: str


@cache
def catalogue(source: Path = _SOURCE) -> tuple[Entry, ...]:
    """Every method that a room's menu names, by room and name.

    Args:
        source: folder of the package.

    Example:
        >>> all(entry.year > 1900 for entry in catalogue())
        True
    """
    listed = (entry for menu in source.glob("*/__init__.py") for entry in _menu(menu, source))
    return tuple(sorted(listed, key=lambda entry: (entry.room, entry.name.lower())))


def unlisted(source: Path = _SOURCE) -> tuple[Entry, ...]:
    """Every marked method that no menu names; it would be lost to users and tests.

    Example:
        >>> unlisted()
        ()
    """
    listed = {(entry.path, entry.name) for entry in catalogue(source)}
    return tuple(
        entry
        for file in sorted(source.rglob("*.py"))
        for entry in _marked(file, source).values()
        if (entry.path, entry.name) not in listed
    )


def search(words: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Rank entries by how well they match some words; what matches none is left out.

    A word counts more in the name than in the title and there more than in the summary or the
    room, and more the fewer entries it matches. A word also matches the beginning of a longer one.

    Args:
        words: what to look for, in any order.
        entries: where to look, as from `catalogue`.

    Example:
        >>> search("entirely absent", catalogue())
        ()
    """
    texts = [_weighted(entry) for entry in entries]
    scores = [0.0] * len(entries)
    for word in _split(words):
        hits = [
            max((w for t, w in text.items() if t.startswith(word)), default=0) for text in texts
        ]
        rarity = math.log1p(len(entries) / max(1, sum(hit > 0 for hit in hits)))
        scores = [score + rarity * hit for score, hit in zip(scores, hits, strict=True)]
    ranked = sorted(range(len(entries)), key=lambda i: -scores[i])
    return tuple(entries[i] for i in ranked if scores[i] > 0)


def _menu(menu: Path, source: Path) -> Iterator[Entry]:
    for node in ast.parse(menu.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("layerwise."):
            file = source.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            marked = _marked(file, source) if file.is_file() else {}
            yield from (marked[alias.name] for alias in node.names if alias.name in marked)


def _marked(file: Path, source: Path) -> Mapping[str, Entry]:
    text = file.read_text(encoding="utf-8")
    if "@paper(" not in text:
        return {}
    path = file.relative_to(source)
    return {
        node.name: _entry(node, mark, path)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call)
        and isinstance(mark.func, ast.Name)
        and mark.func.id == "paper"
    }


def _entry(node: ast.ClassDef | ast.FunctionDef, mark: ast.Call, path: Path) -> Entry:
    options = {str(word.arg): ast.literal_eval(word.value) for word in mark.keywords}
    return Entry(
        room=path.parts[0],
        name=node.name,
        title=ast.literal_eval(mark.args[0]),
        year=options["year"],
        arxiv=options.get("arxiv", ""),
        numbers=options.get("no", ()),
        needs=options.get("needs", ()),
        summary=(ast.get_docstring(node) or "").split("\n", 1)[0],
        path=path.as_posix(),
    )


def _weighted(entry: Entry) -> dict[str, int]:
    name = f"{entry.name} {entry.arxiv} {' '.join(f'P{number:03}' for number in entry.numbers)}"
    fields = ((1, entry.summary), (1, entry.room), (2, entry.title), (4, name))
    return {word: weight for weight, text in fields for word in _split(text)}


def _split(text: str) -> list[str]:
    """The different words of a text in lower case, and the parts of a CamelCaseName."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return list(dict.fromkeys(re.findall(r"[a-z0-9.]+", f"{text} {parts}".lower())))
