"""The program's edge: settles the process, and turns what goes wrong into one line and a number.

Exit codes: 0 done, 2 a mistake that the user can mend, 130 interrupted from the keyboard.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup

import layerwise
from layerwise.cli._allocator import keep_freed_memory
from layerwise.cli._anomalies import find_anomalies
from layerwise.cli._atlas import survey
from layerwise.cli._compare import compare
from layerwise.cli._concepts import concepts
from layerwise.cli._demo import demo
from layerwise.cli._explain import explain
from layerwise.cli._export import export
from layerwise.cli._extract import extract
from layerwise.cli._groups import find_copies, find_groups
from layerwise.cli._index import make_index
from layerwise.cli._layers import list_layers
from layerwise.cli._list import list_methods
from layerwise.cli._match import match
from layerwise.cli._networks import list_networks
from layerwise.cli._output import note
from layerwise.cli._reader import embed, fit, predict
from layerwise.cli._search import find
from layerwise.cli._serve import serve
from layerwise.cli._threads import settle_threads
from layerwise.cli._trace import trace
from layerwise.cli._visualize import visualize
from layerwise.errors import LayerwiseError

_MENDABLE, _INTERRUPTED = 2, 130
_STOPPED = "layerwise: interrupted; what is finished is kept, the same command goes on from it"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def _edge() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and an exit code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        note(f"layerwise: {stop}" if str(stop) else _STOPPED)
        raise SystemExit(_INTERRUPTED) from None
    except (LayerwiseError, OSError) as error:
        note(f"layerwise: {_line(error)}")
        raise SystemExit(_MENDABLE) from None


@final
class _Commands(TyperGroup):
    """The commands, run inside the edge."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _edge():
            return super().invoke(ctx)


def _line(error: LayerwiseError | OSError) -> str:
    """Say in one line what went wrong; an error that nobody foresaw goes on as it is."""
    if isinstance(error, LayerwiseError):
        return " ".join(str(error).split())
    place = f" at {error.filename}" if error.filename else ""
    if error.errno in _FULL or "No space left" in str(error):
        return f"no space left on the device{place}; free some, then run the same command again"
    if error.errno in _FORBIDDEN:
        return (
            f"permission denied{place}; choose another place with --out, or change who may use it"
        )
    raise error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("networks")(list_networks)
app.command("layers")(list_layers)
app.command("atlas")(survey)
app.command("compare")(compare)
app.command("concepts")(concepts)
app.command("extract")(extract)
app.command("index")(make_index)
app.command("search")(find)
app.command("anomalies")(find_anomalies)
app.command("dedupe")(find_copies)
app.command("cluster")(find_groups)
app.command("match")(match)
app.command("fit")(fit)
app.command("predict")(predict)
app.command("embed")(embed)
app.command("export")(export)
app.command("serve")(serve)
app.command("explain")(explain)
app.command("list")(list_methods)
app.command("visualize")(visualize)
app.command("trace")(trace)
app.command("demo")(demo)


def _version(asked: bool) -> bool:
    if asked:
        sys.stdout.write(f"layerwise {layerwise.__version__}\n")
        raise typer.Exit
    return asked


@app.callback()
def _program(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which layer? Reads every layer of any network and ranks the layers on your own data."""


def main() -> None:
    """Run the command line as a program."""
    keep_freed_memory()
    with _edge():
        settle_threads()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    app(prog_name="layerwise")
