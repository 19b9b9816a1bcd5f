"""Small pictures of samples, made when they are asked for and kept for a while."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import final

from fastapi import FastAPI, Response
from PIL import Image
from starlette.exceptions import HTTPException

from layerwise.data import Unreadable
from layerwise.errors import LayerwiseError
from layerwise.serve._answers import PROBLEMS, Problem
from layerwise.serve._bench import Bench

_SIDE, _KEPT = 264, 2048
_EXCERPT = 280


@final
class Thumbnails:
    """Pictures of samples that are known by their keys, as JPEG.

    Args:
        load: reads a sample by its key; raises `Unreadable`, or `LayerwiseError` for no such key.
    """

    def __init__(self, load: Callable[[str], object]) -> None:
        self.load = load
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def attach(self, app: FastAPI, bench: Bench) -> None:
        """Add `/items/{key}`."""

        async def item(key: str) -> Response:
            """The picture of an item, made small. Keys are those of answers, and no paths."""
            (found,) = await bench.do(self.made, [key])
            if isinstance(found, Unreadable):
                raise HTTPException(404, str(found))
            headers = {"Cache-Control": "private, max-age=3600"}
            return Response(found, media_type="image/jpeg", headers=headers)

        binary = {"schema": {"type": "string", "format": "binary"}}
        app.add_api_route(
            "/items/{key}",
            item,
            methods=["GET"],
            response_class=Response,
            responses={
                200: {"content": {"image/jpeg": binary}, "description": "The picture."},
                404: {"model": Problem, "description": "There is no such item, or no picture."},
                **{status: PROBLEMS[status] for status in (400, 422, 500, 503)},
            },
        )

    def made(self, keys: Sequence[str]) -> list[bytes | Unreadable]:
        """The pictures of some items, or why there is none."""
        return [self._one(key) for key in keys]

    def _one(self, key: str) -> bytes | Unreadable:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        try:
            sample = self.load(key)
        except LayerwiseError:
            return Unreadable("there is no such item")
        except Unreadable as reason:
            return reason
        if not isinstance(sample, Image.Image):
            return Unreadable("the item is no picture")
        self._kept[key] = small(sample)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def small(picture: Image.Image) -> bytes:
    """A picture as a small JPEG."""
    thumbnail = picture.convert("RGB")
    thumbnail.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def excerpt(sample: object) -> str | None:
    """The beginning of a text."""
    if not isinstance(sample, str):
        return None
    text = " ".join(sample.split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + " …"
