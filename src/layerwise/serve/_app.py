"""The web application around a service: page, schema, errors and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.report._served import served_page
from layerwise.serve._answers import PROBLEMS
from layerwise.serve._bench import Bench
from layerwise.serve._guard import Guard, problem
from layerwise.serve._limits import Limits
from layerwise.serve._service import Service


class Health(BaseModel):
    """That the server is there, and what it serves."""

    status: str
    kind: str
    modality: str
    layerwise: str


def build(service: Service, limits: Limits, host: str) -> FastAPI:
    """The application.

    Args:
        service: what answers.
        limits: what a request may cost.
        host: where the server listens.
    """
    bench = Bench(most=limits.inputs)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        bench.close()

    front = service.front
    app = FastAPI(
        title=f"layerwise serve: {front.title}",
        version=layerwise.__version__,
        description=front.lead,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=living,
    )
    app.add_middleware(Guard, limits=limits, host=host)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)
    app.add_exception_handler(LayerwiseError, _told)
    app.add_exception_handler(ClientDisconnect, _told)
    app.add_exception_handler(Exception, _told)
    page = served_page(
        title=front.title,
        lead=front.lead,
        facts=front.facts,
        kind=service.kind,
        modality=service.modality,
        path=front.path,
        limits=(limits.bytes, limits.inputs, limits.seconds),
        more=front.more,
    )
    common: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (400, 500)}

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def start() -> HTMLResponse:
        """The page for people."""
        return HTMLResponse(page)

    @app.get("/health", responses=common)
    async def health() -> Health:
        """That the server is there, and what it serves."""
        return Health(
            status="ok",
            kind=service.kind,
            modality=service.modality,
            layerwise=layerwise.__version__,
        )

    service.attach(app, bench, limits)
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    """Whatever goes wrong as one line; what nobody foresaw also goes to the log."""
    if isinstance(error, HTTPException):
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    if isinstance(error, LayerwiseError):
        return problem(422, str(error))
    if isinstance(error, ClientDisconnect):
        return problem(400, "the request broke off")
    return problem(500, f"{type(error).__name__}: {error}")
