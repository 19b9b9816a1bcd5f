"""The device that a run goes to."""

from __future__ import annotations


def device_for(word: str) -> str:
    """One of torch's own words for a device; `auto` means a GPU of CUDA where there is one.

    Example:
        >>> device_for("cpu")
        'cpu'
    """
    import torch

    found = "cuda" if torch.cuda.is_available() else "cpu"
    return found if word == "auto" else word
