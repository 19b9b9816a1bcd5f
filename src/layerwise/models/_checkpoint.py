"""Reads weights from a file, tensors only, and puts them into a module or says what differs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from layerwise.errors import LayerwiseError

_NESTED = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a checkpoint that holds only tensors.

    A state dict inside a training checkpoint is found, and the prefixes that `torch.compile` and
    data-parallel wrappers put before every name are taken off.

    Raises:
        LayerwiseError: the file is not there, not whole, or would run code.
    """
    if not path.is_file():
        raise LayerwiseError(f"there is no file of weights {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            return _plain_names(load_file(path))
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LayerwiseError(
            f"{str(path)!r} is damaged or holds Python objects beside its tensors, which are never "
            "run; save the state dict alone, best with safetensors"
        ) from error
    except Exception as error:  # a damaged file can make a reader raise nearly every type there is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LayerwiseError(f"{str(path)!r} cannot be read as weights: {reason}") from error
    return _plain_names(_state_dict(saved, path))


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Fill a module with weights that match it name by name and shape by shape.

    Args:
        module: is changed.
        weights: by the module's own names.
        source: what to call them in an error.

    Raises:
        LayerwiseError: names or shapes differ; all kinds of difference are in the one line.
    """
    own = module.state_dict()
    # Tied weights are often saved under one of their names, and counters not at all.
    filled = {value.data_ptr() for name, value in own.items() if name in weights}
    lacking = [n for n, v in own.items() if n not in weights and v.ndim]
    missing = [f"{n} {_shape(own[n])}" for n in lacking if own[n].data_ptr() not in filled]
    unexpected = [f"{n} {_shape(v)}" for n, v in weights.items() if n not in own]
    other = [
        f"{n} {_shape(weights[n])} instead of {_shape(v)}"
        for n, v in own.items()
        if n in weights and weights[n].shape != v.shape
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    wrong = [f"{len(names)} {what}: {_listed(names)}" for what, names in found if names]
    if wrong:
        raise LayerwiseError(f"the weights of {source} do not fit: {'; '.join(wrong)}")
    module.load_state_dict(weights, strict=False)


def head_size(module: nn.Module, weights: Mapping[str, Tensor]) -> int | None:
    """Number of outputs that the last layer has in a file, where that is all that differs.

    Example:
        >>> module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 10))
        >>> saved = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()
        >>> head_size(module, saved)
        2
    """
    own = module.state_dict()
    heads = [name for name, value in own.items() if value.ndim > 1]
    if own.keys() - weights.keys() or not heads:
        return None
    head = heads[-1]
    differ = {name for name, value in own.items() if weights[name].shape != value.shape}
    if not differ or not differ <= {head, head.removesuffix("weight") + "bias"}:
        return None
    return weights[head].shape[0] if weights[head].shape[1:] == own[head].shape[1:] else None


@contextmanager
def tensors_only() -> Iterator[None]:
    """Forbid `torch.load` to build anything but tensors, also where another package calls it."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def _state_dict(saved: object, path: Path) -> dict[str, Tensor]:
    while isinstance(saved, Mapping):
        if saved and all(isinstance(value, Tensor) for value in saved.values()):
            return dict(saved)
        inner = [saved[key] for key in _NESTED if isinstance(saved.get(key), Mapping)]
        if not inner:
            break
        saved = inner[0]
    raise LayerwiseError(
        f"{str(path)!r} holds no state dict: neither itself nor under {', '.join(_NESTED)}"
    )


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _WRAPPERS * 2:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _shape(value: Tensor) -> str:
    return str(list(value.shape))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
