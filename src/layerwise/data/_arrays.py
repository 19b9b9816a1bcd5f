"""Arrays and tensors: the first axis counts samples.

Arrays of bytes (`uint8`) shaped `[n h w 3]` or `[n 3 h w]` are pictures; everything else is a
tensor as it stands. A `.npz` has one array of samples, with two axes or more; its arrays with one
axis and as many values are targets. Nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerwise.data._columns import pick, targets_from
from layerwise.data._keys import numbered, tensor_digest
from layerwise.data._samples import Samples, Target
from layerwise.data._subset import subset
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image


@final
@dataclass(frozen=True)
class TensorRows:
    """Rows of a tensor in memory.

    Args:
        tensor: `[n ...]`.
    """

    tensor: Tensor

    def __call__(self, item: int) -> Tensor:
        """One row, with memory of its own."""
        return self.tensor[item].clone()


@final
@dataclass(frozen=True)
class FileRows:
    """Rows of a `.npy` file, read one at a time.

    Args:
        path: path of the file.
    """

    path: str

    def __call__(self, item: int) -> Tensor:
        """One row, with memory of its own."""
        array = _mapped(self.path, os.stat(self.path).st_mtime_ns)
        return as_tensor(array[item].copy(), self.path)


@final
@dataclass(frozen=True)
class PictureRows:
    """Rows of bytes as pictures.

    Args:
        rows: gives `[h w 3]` or `[3 h w]`.
    """

    rows: TensorRows | FileRows

    def __call__(self, item: int) -> Image.Image:
        """One RGB picture."""
        from PIL import Image

        row = self.rows(item)
        return Image.fromarray((row if row.shape[-1] == 3 else row.permute(1, 2, 0)).numpy())


def open_tensor(
    tensor: Tensor, source: str, *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open a tensor `[n ...]`; see `layerwise.data.open`."""
    rows = TensorRows(tensor.detach().cpu())
    made = pick({}, targets)
    return _samples(rows, tensor.shape, source, made=made, limit=limit, seed=seed)


def open_npy(
    path: Path, source: str, *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open a `.npy` file without reading it into memory; see `layerwise.data.open`."""
    shape = _mapped(str(path.resolve()), path.stat().st_mtime_ns).shape
    rows, made = FileRows(str(path.resolve())), pick({}, targets)
    return _samples(rows, shape, source, made=made, limit=limit, seed=seed)


def open_npz(
    path: Path, source: str, *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open a `.npz` file with samples and perhaps targets; see `layerwise.data.open`."""
    arrays = _loaded(path, source)
    several = [name for name, array in arrays.items() if array.ndim > 1]
    if len(several) != 1:
        told = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise LayerwiseError(
            f"{source} must hold one array of samples with two axes or more, and targets with one "
            f"axis; it holds {told or 'nothing'}"
        )
    samples = arrays[several[0]]
    flat = {n: a.tolist() for n, a in arrays.items() if a.shape == samples.shape[:1]}
    made, notes = targets_from(flat, targets)
    rows = TensorRows(as_tensor(samples, f"{source}, array {several[0]!r}"))
    opened = _samples(rows, samples.shape, source, made=made, limit=limit, seed=seed)
    return replace(opened, notes=notes)


def as_tensor(array: NDArray[Any], source: str) -> Tensor:
    """A tensor of an array, without a copy where the array can be shared.

    Raises:
        LayerwiseError: the array holds no numbers, or of a type that torch lacks.
    """
    if array.dtype.kind not in "biufc":
        raise LayerwiseError(f"{source} holds {array.dtype} and no numbers; give texts as a list")
    try:
        native = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        return torch.from_numpy(native)
    except TypeError:
        raise LayerwiseError(f"{source} holds {array.dtype}, which torch does not know") from None


def _samples(
    rows: TensorRows | FileRows,
    shape: Sequence[int],
    source: str,
    *,
    made: Mapping[str, Target],
    limit: int | None,
    seed: int,
) -> Samples:
    if len(shape) < 2 or 0 in shape:
        raise LayerwiseError(
            f"{source} has shape {tuple(shape)}; the first axis counts samples, one or more, and "
            "each sample has axes of its own after it"
        )
    labels = [target.values.tolist() for target in made.values() if target.kind == "class"][:1]
    chosen = subset(labels[0] if labels else [None] * shape[0], limit, seed)
    picture = rows(0).dtype == torch.uint8 and len(shape) == 4 and 3 in (shape[1], shape[3])
    return Samples(
        modality="image" if picture else "tensor",
        source=source,
        names=tuple(f"row {row}" for row in chosen),
        keys=numbered(tensor_digest(rows(row)) for row in chosen),
        items=tuple(chosen),
        loader=PictureRows(rows) if picture else rows,
        targets={name: target.take(chosen) for name, target in made.items()},
    )


@functools.lru_cache(maxsize=8)
def _mapped(path: str, _changed: int) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LayerwiseError(f"{path} cannot be read as .npy: {_reason(error)}") from None


def _loaded(path: Path, source: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise LayerwiseError(f"{source} cannot be read as .npz: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if "pickle" in str(error) or "Python objects" in str(error):
        return "it holds Python objects, which are never unpickled; save numbers"
    return " ".join(str(error).split())
