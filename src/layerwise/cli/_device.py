"""Finds the device that a word means, and says so where it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    import torch


def find_device(word: str) -> torch.device:
    """The device for `auto` or one of torch's own words; `auto` takes a GPU of CUDA or the CPU.

    Raises:
        LayerwiseError: the word means nothing, or there is no such device here.

    Example:
        >>> find_device("cpu").type
        'cpu'
    """
    import torch

    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(word)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            found.append("mps")
        raise LayerwiseError(f"no device {word!r} here; there are: {', '.join(found)}") from error
    return device
