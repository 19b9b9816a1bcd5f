"""The README shows the committed claims, and each claim is still tested."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "tests" / "claims.json"
CLAIMS = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else []


@pytest.fixture
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_committed_claims(pages: ModuleType) -> None:
    assert pages.readme() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(claim["says"] in pages.readme() for claim in CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["paper"])
def test_a_claims_test_exists(claim: dict[str, str]) -> None:
    file, _, name = claim["test"].partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
