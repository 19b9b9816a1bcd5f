"""`layerwise serve`: a local web page and JSON interface for what the other commands wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, progress, say

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    folder: Annotated[
        Path, typer.Argument(help="Folder that `layerwise fit`, `atlas` or `index` wrote.")
    ],
    *,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; others reach all but the default.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 takes a free port.")
    ] = 8000,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.001, help="Largest request that is read.")
    ] = 32.0,
    max_inputs: Annotated[
        int, typer.Option("--max-inputs", min=1, help="Most inputs in a request.")
    ] = 64,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds that a request may take.")
    ] = 60.0,
    device: option.Device = "auto",
) -> None:
    """Serve a reader, an atlas or an index: a page for people and JSON for programs."""
    from layerwise.serve import Limits, address_of, answer, application, listen

    if host not in _LOCAL:
        note(
            f"warning: everybody who reaches {host} can ask this server; there is no password and "
            "no encryption"
        )
    limits = Limits(bytes=int(max_mb * 2**20), seconds=timeout, inputs=max_inputs)
    with listen(host, port) as taken:
        with progress() as show:
            app = application(
                folder, device=device_for(device), limits=limits, host=host, progress=show
            )
        say(f"{folder} is served at {address_of(taken)} until Ctrl-C.")
        sys.stdout.flush()  # whoever waits for the address reads it from a pipe
        try:
            answer(app, taken)
        except KeyboardInterrupt:
            note("stopped")
