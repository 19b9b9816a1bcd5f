"""Draws what the documentation takes from elsewhere: rooms, claims, and the front page.

MkDocs calls it as a hook. Run as a program it writes the table of claims into the README.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise._catalogue import Entry, catalogue

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.parent for path in (ROOT / "src" / "layerwise").glob("[a-z]*/__init__.py"))
TABLE = re.compile(r"(?<=<!-- claims -->\n).*(?=<!-- end of claims -->)", re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Add one page for each room to the navigation."""
    pages = [{room.name: f"rooms/{room.name}.md"} for room in ROOMS if room.name != "cli"]
    config.nav = [*(config.nav or []), {"Rooms": pages}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = {f"rooms/{room.name}.md": room_page(room) for room in ROOMS if room.name != "cli"}
    pages["claims.md"] = claims_page()
    pages["CONTRIBUTING.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    pages["index.md"] = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))


def room_page(room: Path) -> str:
    """The page of a room: its sentence, its methods with their papers, and everything public."""
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    methods = [entry for entry in catalogue() if entry.room == room.name]
    parts = [f"# {room.name}", ast.get_docstring(tree) or "", methods_table(methods)]
    parts += [f"::: layerwise.{room.name}.{name}" for name in public_names(tree)]
    return "\n\n".join(parts) + "\n"


def public_names(tree: ast.Module) -> list[str]:
    """What a room's menu lists in `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def methods_table(methods: list[Entry]) -> str:
    """The methods of papers, with the papers."""
    if not methods:
        return ""
    rows = [
        f"| `{entry.name}` | {entry.summary} | {paper_link(entry)} ({entry.year}) |"
        for entry in methods
    ]
    return "\n".join(["| method | what it does | paper |", "|---|---|---|", *rows])


def paper_link(entry: Entry) -> str:
    """The paper's title, with a link where its address is known."""
    return f"[{entry.title}](https://arxiv.org/abs/{entry.arxiv})" if entry.arxiv else entry.title


def claims_page() -> str:
    """The page of claims."""
    return (
        "# Claims\n\n"
        "Each line is a property from a paper, measured here on real weights or data by the test "
        "that bears its name. What did not hold is listed with its numbers, too.\n\n"
        f"{claims_table()}"
    )


def claims_table() -> str:
    """The committed claims with what was measured."""
    rows = [
        f"| {claim['paper']} | {claim['says']} | {_numbers(claim['measured'])} "
        f"| {_holds(claim)} |\n"
        for claim in _claims()
    ]
    return "".join(["| paper | claim | measured | holds |\n|---|---|---|---|\n", *rows])


def claims_list() -> str:
    """The committed claims without their numbers, for a page that has more to say."""
    rows = [f"| {claim['paper']} | {claim['says']} | {_holds(claim)} |\n" for claim in _claims()]
    return "".join(["| paper | claim | holds |\n|---|---|---|\n", *rows])


def _claims() -> list[dict[str, Any]]:
    path = ROOT / "tests" / "claims.json"
    return json.loads(path.read_text()) if path.exists() else []


def _holds(claim: dict[str, Any]) -> str:
    return "yes" if claim["holds"] else "**no**"


def _numbers(measured: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in measured.items())


def readme() -> str:
    """The README with the claims as they are committed."""
    return TABLE.sub(lambda _: claims_list(), (ROOT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
