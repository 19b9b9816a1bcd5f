"""From a folder to an application, and from a free port to a server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from layerwise.errors import LayerwiseError
from layerwise.serve._limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

Progress = Callable[[str, int, int], None]


def application(
    folder: str | Path,
    *,
    device: str = "cpu",
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    progress: Progress | None = None,
) -> FastAPI:
    """The web application (ASGI) of a folder, for a server of your own.

    Args:
        folder: of a reader, an atlas or an index.
        device: where the network goes.
        limits: what a request may cost.
        host: where the server listens; other names in a request's `Host` are refused.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: the folder is none of these, it or its network cannot be opened, or the
            packages of `layerwise[serve]` are missing.
    """
    try:
        import python_multipart  # noqa: F401 - FastAPI reads forms with it

        from layerwise.serve._app import build
        from layerwise.serve._open import opened
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("layerwise"):
            raise
        raise LayerwiseError(
            f"serving needs the package {error.name}; install it with `pip install "
            "'layerwise[serve]'`"
        ) from None
    return build(opened(Path(folder), device, progress), limits or Limits(), host)


def listen(host: str = "127.0.0.1", port: int = 8000) -> socket.socket:
    """Take a place to listen at, before anything slow is done.

    Args:
        host: other ones than the default can be reached by others, too.
        port: 0 takes a free one.

    Raises:
        LayerwiseError: it cannot be had.

    Example:
        >>> with listen(port=0) as taken:
        ...     address_of(taken).startswith("http://127.0.0.1:")
        True
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise LayerwiseError(
            f"port {port} of {host} cannot be had ({told}); give another with --port, or --port 0 "
            "for a free one"
        ) from None


def address_of(taken: socket.socket) -> str:
    """What to type into a browser."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def answer(app: FastAPI, taken: socket.socket) -> None:
    """Serve an application until Ctrl-C.

    Args:
        app: as `application` makes it.
        taken: as `listen` gives it.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when all is closed.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[taken])
