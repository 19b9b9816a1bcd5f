"""Samples given in Python: pictures, texts, tensors, arrays or paths, alone or with targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from layerwise.data._arrays import as_tensor
from layerwise.data._columns import targets_from
from layerwise.data._folder import ImageLoader, content_digest
from layerwise.data._gather import gather
from layerwise.data._image import loaded_rgb
from layerwise.data._keys import digest, tensor_digest
from layerwise.data._places import Folder
from layerwise.data._samples import Modality, Samples, Unreadable
from layerwise.data._subset import subset
from layerwise.data._text import AsGiven, text_entry
from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image


@final
@dataclass(frozen=True)
class _Form:
    """One of the things a sample may be.

    Args:
        types: what the sample is in Python.
        modality: what `load` will return.
        entry: makes an item and a digest.
        loader: makes the sample of an item.
    """

    types: tuple[type, ...]
    modality: Modality
    entry: Callable[[Any], tuple[Any, str]]
    loader: Callable[[Any], Any]


def open_iterable(
    source: Iterable[Any], *, targets: Sequence[str] | None, limit: int | None, seed: int
) -> Samples:
    """Open samples, or pairs of a sample and its targets by name; see `layerwise.data.open`."""
    pairs = [_pair(each) for each in source]
    told = f"the {type(source).__name__}"
    if not pairs:
        raise LayerwiseError(f"{told} is empty; give one sample or more")
    form = _form_of([sample for sample, _ in pairs], told)
    columns = dict.fromkeys(name for _, values in pairs for name in values)
    made, notes = targets_from({n: [v.get(n) for _, v in pairs] for n in columns}, targets)
    labels = [target.values.tolist() for target in made.values() if target.kind == "class"][:1]
    chosen = subset(labels[0] if labels else [None] * len(pairs), limit, seed)
    names = [f"item {place}" for place in chosen]
    found = gather(told, names, [pairs[place][0] for place in chosen], _Checked(form))
    kept = [chosen[i] for i in found.places]
    return Samples(
        modality=form.modality,
        source=told,
        names=found.names,
        keys=found.keys,
        items=found.items,
        loader=form.loader,
        targets={name: target.take(kept) for name, target in made.items()},
        set_aside=found.set_aside,
        notes=notes,
    )


@final
@dataclass(frozen=True)
class _Checked:
    """Takes samples of one form and refuses the others."""

    form: _Form

    def __call__(self, sample: object) -> tuple[Any, str]:
        if not isinstance(sample, self.form.types):
            raise Unreadable(
                f"a {type(sample).__name__} among samples that are {self.form.types[0].__name__}"
            )
        return self.form.entry(sample)


def _pair(each: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(each, tuple) and len(each) == 2 and isinstance(each[1], Mapping):
        return each[0], each[1]
    return each, {}


def _form_of(samples: Sequence[Any], told: str) -> _Form:
    """The form of the first sample that has one."""
    from PIL import Image

    forms = (
        _Form((str,), "text", text_entry, AsGiven()),
        _Form((Path,), "image", _path_entry, ImageLoader(Folder("."))),
        _Form((Image.Image,), "image", _picture_entry, AsGiven()),
        _Form((Tensor, np.ndarray), "tensor", _tensor_entry, AsGiven()),
    )
    for sample in samples:
        for form in forms:
            if isinstance(sample, form.types):
                return form
    raise LayerwiseError(
        f"{told} gives {type(samples[0]).__name__}; give pictures (PIL), paths, texts, tensors or "
        "arrays, alone or as pairs (sample, {target: value})"
    )


def _path_entry(path: Path) -> tuple[str, str]:
    absolute = str(path.absolute())
    return absolute, content_digest(Folder("."), absolute)


def _picture_entry(picture: Image.Image) -> tuple[Image.Image, str]:
    rgb = loaded_rgb(picture)
    return rgb, digest(repr(rgb.size).encode(), rgb.tobytes())


def _tensor_entry(value: Tensor | NDArray[Any]) -> tuple[Tensor, str]:
    tensor = value.detach() if isinstance(value, Tensor) else as_tensor(value, "an array")
    if tensor.untyped_storage().nbytes() > tensor.nbytes:
        tensor = tensor.clone()  # a view would carry its whole memory to every worker
    return tensor, tensor_digest(tensor)
