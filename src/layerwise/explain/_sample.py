"""Samples as people name them, and as people see what the network saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._hide import main
from layerwise.models import ImagePreparation, Network, TextPreparation


def sample_of(network: Network, source: str) -> tuple[Any, str]:
    """One sample, as a user names it: a picture's file, a text's file, or the text itself.

    Args:
        network: for whose inputs.
        source: as the user wrote it.

    Returns:
        The sample and what people call it.

    Raises:
        LayerwiseError: there is no such picture, or it cannot be read.
    """
    path = Path(source).expanduser()
    if network.modality == "text":
        named = len(source) < 256 and path.suffix in (".txt", ".md") and path.is_file()
        return (path.read_text(encoding="utf-8", errors="replace"), path.name) if named else (
            source, source if len(source) < 60 else f"{source[:57]}..."
        )  # fmt: skip
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise LayerwiseError(f"there is no picture at {source!r}; give the path of a file")
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy(), path.name
    except (UnidentifiedImageError, OSError) as error:
        raise LayerwiseError(f"{source!r} cannot be read as a picture: {error}") from error


def picture_of(network: Network, inputs: Inputs, i: int) -> Float[Tensor, "3 H W"] | None:
    """One picture of a batch, from 0 to 1; None where the batch holds no pictures.

    Args:
        network: whose preparation is undone.
        inputs: a batch.
        i: which sample.
    """
    values = inputs if isinstance(inputs, Tensor) else inputs[main(inputs)]
    if values.ndim != 4 or values.shape[1] != 3:
        return None
    shown = values[i].detach().float().cpu()
    prepare = network.prepare
    if isinstance(prepare, ImagePreparation):
        std, mean = (torch.tensor(each).view(3, 1, 1) for each in (prepare.std, prepare.mean))
        return (shown * std + mean).clamp(0, 1)
    return (shown - shown.amin()) / (shown.amax() - shown.amin()).clamp(min=1e-9)


def tokens_of(network: Network, inputs: Inputs, i: int) -> tuple[str, ...]:
    """The tokens of one text of a batch, as they are written; none where it holds no texts.

    Args:
        network: whose tokens they are.
        inputs: a batch.
        i: which sample.
    """
    if network.modality != "text" or isinstance(inputs, Tensor):
        return ()
    ids = inputs[main(inputs)][i]
    mask = inputs.get("attention_mask")
    length = int(mask[i].sum()) if mask is not None else len(ids)
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        return tuple(str(int(number)) for number in ids[:length])
    pieces = prepare.tokenizer.convert_ids_to_tokens(ids[:length].tolist())
    return tuple(str(p).replace("Ġ", " ").replace("Ċ", "\n").replace("▁", " ") for p in pieces)
