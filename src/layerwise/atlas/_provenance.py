"""What a later reader needs to make the same atlas again."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("layerwise", "torch", "timm", "torchvision", "transformers", "pylance", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers, where installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: torch.device) -> dict[str, str]:
    """What the times were measured on."""
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def hash_of(keys: Iterable[str]) -> str:
    """SHA-256 over the content keys of all samples, in order."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(f"{key}\n".encode())
    return digest.hexdigest()
