"""Importing costs little, and the rooms import only what lies below them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import layerwise
from layerwise import _HOME, _ROOMS

ROOT = Path(__file__).parents[1]


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_library_imports_nothing_but_python() -> None:
    code = (
        "import sys; before = set(sys.modules); import layerwise;"
        "print({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert _python(code) == "{'layerwise'}"


def test_the_command_line_starts_without_torch() -> None:
    assert _python("import sys, layerwise.cli; print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("name", layerwise.__all__)
def test_every_name_is_found_in_its_room(name: str) -> None:
    assert name in dir(layerwise)
    value = getattr(layerwise, name)
    assert value.__module__.startswith(f"layerwise.{_HOME[name]}")


def test_every_room_opens_from_the_front_door() -> None:
    rooms = {menu.parent.name for menu in (ROOT / "src" / "layerwise").glob("*/__init__.py")}
    assert rooms - {"cli"} == _ROOMS
    assert all(getattr(layerwise, room).__name__ == f"layerwise.{room}" for room in _ROOMS)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'zebra'"):
        layerwise.zebra  # noqa: B018


def test_rooms_import_only_lower_rooms() -> None:
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [program, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
