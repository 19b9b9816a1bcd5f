"""`stdlib`: excerpts of the Python library that runs this very program; nothing is downloaded.

Every sample is a docstring, a comment or the body of a function, cut at a line's end to at most
600 characters; every other one has its words shuffled in place. The targets differ in nature:
`kind` shows in single words, `package` is what the text is about, `order` (kept or shuffled) does
not show in the words at all but only in how they follow each other, and `words` is how many there
are. Excerpts of one source file stay on one side of a split. The set is the same on every machine
with the same version of Python.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import sysconfig
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from layerwise.data._columns import class_target, number_target, pick
from layerwise.data._keys import numbered, text_digest
from layerwise.data._samples import Samples
from layerwise.data._subset import subset
from layerwise.data._text import AsGiven
from layerwise.errors import LayerwiseError

_PACKAGES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)
_OF_EACH = 46
_LONGEST = 600
_FEWEST_WORDS = 8


@final
@dataclass(frozen=True)
class Excerpt:
    """A piece of a source file.

    Args:
        file: path inside the library.
        line: where it begins.
        kind: what it is.
        text: the words.
    """

    file: str
    line: int
    kind: Literal["code", "comment", "docstring"]
    text: str

    @property
    def package(self) -> str:
        """The package it comes from."""
        return self.file.partition("/")[0]


def open_stdlib(
    *, targets: Sequence[str] | None = None, limit: int | None = None, seed: int = 0
) -> Samples:
    """Open the built-in texts; see the module for what they are."""
    everything = _chosen()
    rows = subset([(each.package, each.kind) for each in everything], limit, seed)
    excerpts = [everything[row] for row in rows]
    shuffled = [row % 2 == 1 for row in rows]
    texts = [
        _shuffle(each.text, row) if mixed else each.text
        for row, each, mixed in zip(rows, excerpts, shuffled, strict=True)
    ]
    files = [each.file for each in excerpts]
    made = (
        class_target("kind", [each.kind for each in excerpts]),
        class_target("package", [each.package for each in excerpts]),
        class_target("order", ["shuffled" if mixed else "kept" for mixed in shuffled]),
        number_target("words", [len(text.split()) for text in texts]),
    )
    return Samples(
        modality="text",
        source="stdlib",
        names=tuple(f"{each.file}:{each.line} {each.kind}" for each in excerpts),
        keys=numbered(text_digest(text) for text in texts),
        items=tuple(texts),
        loader=AsGiven(),
        targets=pick({target.name: target.grouped(files) for target in made}, targets),
    )


@functools.lru_cache(maxsize=1)
def _chosen() -> tuple[Excerpt, ...]:
    """Up to `_OF_EACH` excerpts of each kind from each package, no text twice."""
    library = Path(sysconfig.get_paths()["stdlib"])
    generator = random.Random(0)
    chosen, seen = [], set()
    for package in _PACKAGES:
        found = [
            excerpt
            for path in sorted((library / package).rglob("*.py"))
            if "test" not in path.relative_to(library / package).parts
            for excerpt in _excerpts(path, path.relative_to(library).as_posix())
        ]
        for kind in ("code", "comment", "docstring"):
            of_kind = [each for each in found if each.kind == kind]
            generator.shuffle(of_kind)
            taken = 0
            for each in of_kind:
                if taken < _OF_EACH and each.text not in seen:
                    seen.add(each.text)
                    chosen.append(each)
                    taken += 1
    if not chosen:
        raise LayerwiseError(
            f"Python's library has no sources in {library}; 'stdlib' needs them, install a Python "
            "that ships its .py files"
        )
    generator.shuffle(chosen)
    return tuple(chosen)


def _excerpts(path: Path, file: str) -> Iterator[Excerpt]:
    source = path.read_text(encoding="utf-8")
    lines = source.split("\n")
    for node in _definitions(ast.parse(source)):
        documentation = ast.get_docstring(node)
        if documentation:
            yield from _excerpt(file, node.body[0].lineno, "docstring", documentation)
        body = node.body[1:] if documentation else node.body
        if body and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            code = "\n".join(lines[body[0].lineno - 1 : node.end_lineno])
            yield from _excerpt(file, body[0].lineno, "code", textwrap.dedent(code))
    yield from _comments(lines, file)


def _definitions(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The module itself, its classes and functions, and those in classes."""
    yield node
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for each in node.body:
            if isinstance(each, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from _definitions(each)


def _comments(lines: Sequence[str], file: str) -> Iterator[Excerpt]:
    """Comments that fill whole lines, without their marks."""
    block: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.lstrip().startswith("#"):
            block.append(line.lstrip().lstrip("#!").removeprefix(" "))
        elif block:
            yield from _excerpt(file, number - len(block), "comment", "\n".join(block))
            block = []


def _excerpt(
    file: str, line: int, kind: Literal["code", "comment", "docstring"], text: str
) -> Iterator[Excerpt]:
    """An excerpt, if there are words enough in it."""
    kept = text.strip("\n")
    if len(kept) > _LONGEST:
        kept = kept[: kept.rfind("\n", 0, _LONGEST) + 1 or _LONGEST].rstrip()
    if len(re.findall(r"[A-Za-z]{2,}", kept)) >= _FEWEST_WORDS:
        yield Excerpt(file, line, kind, kept)


def _shuffle(text: str, seed: int) -> str:
    """The same words on the same places of the page, in another order."""
    pieces = re.split(r"(\s+)", text)
    words = [piece for piece in pieces if piece.strip()]
    random.Random(seed).shuffle(words)
    waiting = iter(words)
    return "".join(next(waiting) if piece.strip() else piece for piece in pieces)
