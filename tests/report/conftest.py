from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from layerwise.atlas import Atlas
from layerwise.report import write

_EXAMPLE = runpy.run_path(str(Path(__file__).with_name("atlas_example.py")))


@pytest.fixture
def make_atlas() -> Callable[..., Atlas]:
    """The function that makes an atlas up; see `atlas_example.py`."""
    return _EXAMPLE["make_atlas"]


@pytest.fixture
def kinds() -> dict[str, Callable[[], Atlas]]:
    """Every kind of survey the page has to suit, by name."""
    return _EXAMPLE["KINDS"]


@pytest.fixture(scope="session", params=list(_EXAMPLE["KINDS"]))
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Atlas, Path]:
    """One kind of survey after the other: its name, its atlas, and its page."""
    atlas = _EXAMPLE["KINDS"][request.param]()
    return request.param, atlas, write(atlas, tmp_path_factory.mktemp("page") / "new" / "folder")
