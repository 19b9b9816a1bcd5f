"""What every request has to pass before anything is done for it.

- Its `Host` must be this machine. A page on the web can point a name of its own to 127.0.0.1 and
  would then be allowed to read what is served there; an address in figures cannot be bent so.
- A request that another site's page makes is refused by its `Origin`, and no answer allows one.
- The body is counted as it arrives, whatever length was announced, and all has to be over in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address
from typing import final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from layerwise.serve._limits import Limits

LOCAL = ("localhost", "127.0.0.1", "::1")

_LINGER = 2.0
"""Seconds to read on after an early answer: a connection cut at once may take the answer along."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_PAGE = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
_DATA = "default-src 'none'; frame-ancestors 'none'"


@final
class Guard:
    """Refuses what is no request of this machine's own, too large, too slow, or too much.

    Args:
        app: what is guarded.
        limits: what a request may cost.
        host: where the server listens.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, host: str) -> None:
        self.app = app
        self.limits = limits
        self.loopback = host in LOCAL
        named = {"localhost", host} if self.loopback else {"localhost", host, socket.gethostname()}
        self.names = frozenset(name.lower() for name in named)
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        expected = announced != "0" or "transfer-encoding" in headers
        body = _Body(receive, self.limits.bytes, expected=expected)
        answer = _Answer(send, body)
        refusal = self._refusal(headers, announced, alone=scope["method"] in ("GET", "HEAD"))
        if refusal is None:
            self.running += 1
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await self.app(scope, body, answer)
            except TimeoutError:
                refusal = None if answer.started else self._late(body)
            finally:
                self.running -= 1
        if refusal is not None:
            await refusal(scope, receive, answer)
        await answer.finish()

    def _late(self, body: _Body) -> JSONResponse:
        limit = f"within {self.limits.seconds:g} seconds"
        if body.whole:
            return problem(503, f"not done {limit}; ask for less, or raise --timeout", retry=True)
        return problem(408, f"the request has not arrived {limit}")

    def _refusal(self, headers: Headers, announced: str, *, alone: bool) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._known(host):
            return problem(
                400, f"the host {host[:100]!r} is not this server; use the address it printed"
            )
        if not alone and origin is not None and origin.partition("://")[2] != host:
            return problem(403, f"pages of {origin[:100]!r} may not ask this server")
        if announced.isdecimal() and int(announced) > self.limits.bytes:
            return problem(413, _too_large(self.limits.bytes))
        if not alone and self.running >= self.limits.requests:
            return problem(503, "too many requests at once; try again soon", retry=True)
        return None

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or ip_address(name).is_loopback or not self.loopback
        except ValueError:
            return False


@final
class _Body:
    """A request's body, counted on its way in; `whole` once there is no more of it."""

    def __init__(self, receive: Receive, limit: int, *, expected: bool) -> None:
        self.receive = receive
        self.limit = limit
        self.size = 0
        self.whole = not expected

    async def __call__(self) -> Message:
        message = await self.receive()
        self.size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.size > self.limit:
            raise HTTPException(413, _too_large(self.limit))
        return message

    async def drain(self) -> None:
        """Throw away what is still on its way, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while not self.whole:
                    self.whole = not (await self.receive()).get("more_body", False)


@final
class _Answer:
    """An answer on its way out; it gets the headers that all have."""

    def __init__(self, send: Send, body: _Body) -> None:
        self.send = send
        self.body = body
        self.started = False
        self.open = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            page = headers.get("content-type", "").startswith("text/html")
            headers.update(_HEADERS)
            headers.setdefault("Cache-Control", "no-store")
            # A page has a policy of its own, too, which lets its own script and style through.
            headers["Content-Security-Policy"] = _PAGE if page else _DATA
            if not self.body.whole:
                headers["Connection"] = "close"
        elif not self.body.whole and not message.get("more_body", False):
            self.open = True
            message = {**message, "more_body": True}
        await self.send(message)

    async def finish(self) -> None:
        """End an answer that was given before the request was read."""
        if self.open:
            await self.body.drain()
            await self.send({"type": "http.response.body"})


def problem(status: int, error: str, *, retry: bool = False) -> JSONResponse:
    """An answer that says in one line what is wrong.

    Args:
        status: of HTTP.
        error: the line.
        retry: whether it may help to ask again.
    """
    headers = {"Retry-After": "1"} if retry else None
    return JSONResponse({"error": " ".join(error.split())}, status, headers)


def _too_large(limit: int) -> str:
    return f"the request is larger than {limit / 2**20:.3g} MB; send less, or raise --max-mb"
