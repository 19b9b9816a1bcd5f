"""What is asked: a list in JSON, or files of a form, with a few options beside them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from layerwise.data import Samples, Unreadable
from layerwise.data._image import decode
from layerwise.data._keys import digest, numbered
from layerwise.data._text import checked_text
from layerwise.serve._limits import Limits

if TYPE_CHECKING:
    from PIL import Image

Modality = Literal["image", "text"]

_FIELDS = 16
"""Fields of a form that are no files."""

_SAID = {
    "image": "pictures, each as the base64 of its file",
    "text": "texts",
}


class Options(BaseModel):
    """What may be said beside the inputs."""

    model_config = ConfigDict(extra="forbid")


@final
@dataclass(frozen=True)
class Given:
    """One input of a request.

    Args:
        name: of its file, where it came as one.
        content: a text, a picture's file, or why it is neither.
    """

    name: str
    content: str | bytes | Unreadable


@final
class Form:
    """Reads the requests of one endpoint, and describes them for its schema.

    Args:
        modality: of the inputs.
        limits: of a request.
        options: what may be said beside the inputs.
    """

    def __init__(
        self, modality: Modality, limits: Limits, options: type[Options] = Options
    ) -> None:
        self.modality = modality
        self.limits = limits
        self.options = options
        listed = Field(
            min_length=1,
            max_length=limits.inputs,
            description=f"{_SAID[modality].capitalize()}.",
        )
        item = Annotated[str, Field(min_length=1)]
        self.asked: type[Options] = create_model(
            "Question", __base__=options, inputs=(Annotated[list[item], listed], ...)
        )

    @property
    def schema(self) -> dict[str, Any]:
        """The request's body for OpenAPI."""
        files = {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": self.limits.inputs,
            "description": "Files of pictures." if self.modality == "image" else "Files of text.",
        }
        options = self.options.model_json_schema().get("properties", {})
        form = {
            "type": "object",
            "properties": {"files": files, **options},
            "required": ["files"],
            "additionalProperties": False,
        }
        asked = self.asked.model_json_schema()
        if self.modality == "image":
            asked["properties"]["inputs"]["items"]["contentEncoding"] = "base64"
        content = {
            "application/json": {"schema": asked},
            "multipart/form-data": {"schema": form},
        }
        return {"requestBody": {"required": True, "content": content}}

    async def read(self, request: Request) -> tuple[list[Given], Any]:
        """The inputs of a request, and what is said beside them.

        Raises:
            HTTPException: it is neither JSON nor a form, or not of the schema.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            return self._of_json(await request.body())
        if kind == "multipart/form-data":
            return await self._of_form(request)
        raise HTTPException(
            415, f"{kind[:80]!r} is not read here; send application/json or multipart/form-data"
        )

    def _of_json(self, body: bytes) -> tuple[list[Given], Any]:
        try:
            asked = self.asked.model_validate_json(body, strict=True)
        except ValidationError as error:
            raise mistaken(error) from None
        inputs: list[str] = vars(asked)["inputs"]
        return [Given("", self._content(text)) for text in inputs], asked

    async def _of_form(self, request: Request) -> tuple[list[Given], Any]:
        given: list[Given] = []
        said: dict[str, str] = {}
        async with request.form(max_files=self.limits.inputs, max_fields=_FIELDS) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and name == "files":
                    given.append(Given(value.filename or "", self._of_file(await value.read())))
                elif isinstance(value, str) and name not in said:
                    said[name] = value
                else:
                    raise HTTPException(422, f"{name[:80]!r}: give each option once, as text")
        if not given:
            raise HTTPException(422, "files: there are none; give one or more")
        try:
            return given, self.options.model_validate_strings(said)
        except ValidationError as error:
            raise mistaken(error) from None

    def _content(self, text: str) -> str | bytes | Unreadable:
        if self.modality == "text":
            return text
        encoded = text.partition(",")[2] if text.startswith("data:") else text
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return Unreadable("it is not the base64 of a file")

    def _of_file(self, content: bytes) -> str | bytes | Unreadable:
        if self.modality == "image":
            return content
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return Unreadable("the file is no text in UTF-8")


def samples_of(contents: Sequence[str | bytes], modality: Modality) -> Samples:
    """The contents of inputs as samples, called by their places."""
    raw = [c if isinstance(c, bytes) else c.encode("utf-8", "surrogatepass") for c in contents]
    return Samples(
        modality=modality,
        source="the request",
        names=tuple(map(str, range(len(contents)))),
        keys=numbered(map(digest, raw)),
        items=tuple(contents),
        loader=_picture if modality == "image" else checked_text,
    )


def mistaken(error: ValidationError) -> HTTPException:
    """What is wrong with a request, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    status = 400 if first["type"] == "json_invalid" else 422
    return HTTPException(status, f"{place}: {first['msg']}" if place else first["msg"])


def _picture(content: bytes) -> Image.Image:
    return decode(content)
