"""What is answered: the inputs that could be read, and the others with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from layerwise.data import Unreadable
from layerwise.serve._bench import Bench
from layerwise.serve._inputs import Form, Given


class Answer(BaseModel):
    """What is said of one input."""

    input: int = Field(description="Its place in the request, from 0.")
    name: str = Field(description="Name of its file, if it came as one.")


class Left(BaseModel):
    """An input that could not be read."""

    input: int = Field(description="Its place in the request, from 0.")
    name: str = Field(description="Name of its file, if it came as one.")
    reason: str


class Problem(BaseModel):
    """What is wrong, in one line."""

    error: str


A = TypeVar("A", bound=Answer)
T = TypeVar("T")


class Answers(BaseModel, Generic[A]):
    """All that is said of a request."""

    answers: list[A]
    set_aside: list[Left]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words}
    for status, words in (
        (400, "The request is malformed, or its Host is not this server."),
        (403, "The request was made by another site's page."),
        (408, "The request did not arrive in time."),
        (413, "The request is too large."),
        (415, "The body is neither JSON nor a form."),
        (422, "The request is not of the schema, or none of its inputs can be read."),
        (500, "A defect of the server."),
        (503, "The server is busy, or it takes too long; `Retry-After` says when to ask again."),
    )
}
"""What can go wrong with any question, for the schema."""


def ask_at(
    app: FastAPI,
    path: str,
    endpoint: Callable[[Request], Awaitable[Any]],
    *,
    form: Form,
    model: type[BaseModel],
    said: str,
) -> None:
    """Add an endpoint that inputs are sent to.

    Args:
        app: the application.
        path: `/NAME`.
        endpoint: answers a request.
        form: of the request.
        model: of the answers.
        said: what it does, for the schema.
    """
    app.add_api_route(
        path,
        endpoint,
        name=path.removeprefix("/"),
        description=said,
        methods=["POST"],
        response_model=model,
        responses=PROBLEMS,
        openapi_extra=form.schema,
    )


def each_at(
    app: FastAPI,
    path: str,
    bench: Bench,
    work: Callable[[Sequence[Any]], Sequence[Any]],
    answer: Callable[[int, str, Any], Answer],
    *,
    form: Form,
    model: type[BaseModel],
    said: str,
) -> None:
    """Add an endpoint that answers for each input by itself. Arguments as in the two others."""

    async def endpoint(request: Request) -> Answers[Any]:
        given, _ = await form.read(request)
        answers, left = await answered(bench, given, work, answer)
        return Answers(answers=answers, set_aside=left)

    ask_at(app, path, endpoint, form=form, model=model, said=said)


async def answered(
    bench: Bench,
    given: Sequence[Given],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    answer: Callable[[int, str, Any], T],
) -> tuple[list[T], list[Left]]:
    """Do the work for the inputs that can be read, and say which can not.

    Args:
        bench: where it is done.
        given: the inputs.
        work: from their contents to results, or to reasons why there is none.
        answer: from an input's place, name and result to what is said of it.

    Raises:
        HTTPException: none can be read.
    """
    whole = [i for i, each in enumerate(given) if not isinstance(each.content, Unreadable)]
    found: dict[int, Any] = dict(enumerate(each.content for each in given))
    results = await bench.do(work, [given[i].content for i in whole]) if whole else []
    found |= dict(zip(whole, results, strict=True))
    left = [
        Left(input=i, name=given[i].name, reason=str(reason))
        for i, reason in found.items()
        if isinstance(reason, Unreadable)
    ]
    if len(left) == len(given):
        which = "the input" if len(given) == 1 else f"all {len(given)} inputs"
        raise HTTPException(422, f"{which} cannot be read: {left[0].reason}")
    return [
        answer(i, given[i].name, result)
        for i, result in found.items()
        if not isinstance(result, Unreadable)
    ], left
