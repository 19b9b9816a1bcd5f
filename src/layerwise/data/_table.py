"""A table: one column holds the samples (paths of pictures, or texts), others hold targets.

Relative paths count from the table's folder and may not leave it, by `..` or by a link: a table
from elsewhere must not read this machine's files. A path that is written as absolute is taken as
meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from layerwise.data._folder import ImageLoader, content_digest
from layerwise.data._gather import gather
from layerwise.data._places import Folder
from layerwise.data._roles import roles_of, sides_of
from layerwise.data._samples import Samples, SetAside, Unreadable
from layerwise.data._subset import subset
from layerwise.data._table_files import read_table
from layerwise.data._text import AsGiven, checked_text, text_entry


@final
@dataclass(frozen=True)
class PathEntry:
    """Checks a path from a table, and hashes the file it leads to.

    Args:
        place: the table's folder.
    """

    place: Folder

    def __call__(self, value: object) -> tuple[str, str]:
        """The path as an item for the folder, and the digest of the file.

        Raises:
            Unreadable: there is no path, it leaves the folder, or the file cannot be read.
        """
        if value is None or not str(value).strip():
            raise Unreadable("the path is missing")
        path = checked_text(value).strip()
        if "://" in path:
            raise Unreadable("an address and no path; download it and give the file's path")
        root = Path(self.place.root)
        if not Path(path).is_absolute() and not (root / path).resolve().is_relative_to(root):
            raise Unreadable(
                "leads out of the table's folder; write it as absolute if that is meant"
            )
        return path, content_digest(self.place, path)


def open_table(
    path: Path,
    source: str,
    *,
    targets: Sequence[str] | None,
    path_column: str | None,
    text_column: str | None,
    split_column: str | None,
    group_column: str | None,
    limit: int | None,
    seed: int,
    max_pixels: int,
) -> Samples:
    """Open a CSV, TSV, JSONL or Parquet table; see `layerwise.data.open`."""
    table = read_table(path)
    roles = roles_of(
        table.columns,
        targets=targets,
        path_column=path_column,
        text_column=text_column,
        split_column=split_column,
        group_column=group_column,
    )
    sides = sides_of(table.columns[roles.split], roles.split) if roles.split else None
    labels = [t.values.tolist() for t in roles.targets.values() if t.kind == "class"][:1]
    usable = [row for row in range(len(table.rows)) if sides is None or sides[row]]
    strata = [(sides and sides[row], [each[row] for each in labels]) for row in usable]
    chosen = [usable[i] for i in subset([str(stratum) for stratum in strata], limit, seed)]
    place = Folder(str(path.parent.resolve()))
    cells = [table.columns[roles.sample][row] for row in chosen]
    names = [table.rows[row] for row in chosen]
    if roles.form == "path":
        names = [str(cell or name) for cell, name in zip(cells, names, strict=True)]
    entry = PathEntry(place) if roles.form == "path" else text_entry
    rows = gather(f"{source}, column {roles.sample!r}", names, cells, entry)
    kept = [chosen[i] for i in rows.places]
    unsplit = [r for r in range(len(table.rows)) if sides is not None and not sides[r]]
    return Samples(
        modality="image" if roles.form == "path" else "text",
        source=source,
        names=rows.names,
        keys=rows.keys,
        items=rows.items,
        loader=ImageLoader(place, max_pixels) if roles.form == "path" else AsGiven(),
        targets={name: target.take(kept) for name, target in roles.targets.items()},
        split=tuple(sides[row] for row in kept) if sides else None,
        set_aside=(
            *table.set_aside,
            *(SetAside(table.rows[row], f"no side in column {roles.split!r}") for row in unsplit),
            *rows.set_aside,
        ),
        notes=(*roles.notes, *table.notes),
    )
