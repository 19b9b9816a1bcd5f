"""Applications of small folders, and what they are asked with."""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from layerwise import serve

PATIENT = serve.Limits(seconds=600.0)
"""For a machine that is busy with other tests."""


@functools.cache
def app_of(folder: Path, limits: serve.Limits = PATIENT) -> FastAPI:
    """The application of a folder; it is opened once and lives as long as the tests."""
    return serve.application(folder, limits=limits)


def client_of(folder: Path, limits: serve.Limits = PATIENT) -> TestClient:
    """A client of the application of a folder."""
    app = app_of(folder, limits)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def base64_of(path: Path) -> str:
    """A file as it is put into JSON."""
    return base64.b64encode(path.read_bytes()).decode()


def png(width: int, height: int) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()
