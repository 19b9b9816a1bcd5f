"""Opens networks of `timm`, with the preparation their configuration describes."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._network import Network
from layerwise.models._preparation import ImagePreparation, example_picture, stack
from layerwise.models._seeded import seeded


def open_timm(architecture: str, *, source: str, random: bool = False) -> Network:
    """Open a network of `timm` by its name, with weights of the hub or with random ones.

    Args:
        architecture: as `timm.list_models` spells it, with or without the weights' tag.
        source: the words that open it again.
        random: random weights, always the same, without any download.

    Raises:
        LayerwiseError: there is no such name, or its weights cannot be fetched.
    """
    module = timm_module(architecture, pretrained=not random)
    weights = "random weights" if random else "pretrained weights of timm"
    return timm_network(
        module, name=architecture, source=source, card=f"{architecture}, {weights}."
    )


def timm_network(
    module: nn.Module,
    *,
    name: str,
    source: str,
    card: str,
    prepare: ImagePreparation | None = None,
) -> Network:
    """A network around a module of `timm`."""
    how = prepare or timm_preparation(module)
    return Network(
        module,
        name=name,
        modality="image",
        prepare=how,
        collate=stack,
        example=stack([how(example_picture())]),
        card=card,
        source=source,
    )


def timm_module(architecture: str, *, pretrained: bool, classes: int | None = None) -> nn.Module:
    """Build a module of `timm` in evaluation mode.

    Args:
        architecture: its name.
        pretrained: fetch its weights.
        classes: number of classes of its head; None is as trained.

    Raises:
        LayerwiseError: there is no such name, or its weights cannot be fetched.
    """
    import timm

    if not timm.is_model(architecture):
        raise unknown("timm network", architecture, timm.list_models())
    head: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        with seeded():
            return timm.create_model(architecture, pretrained=pretrained, **head).eval()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LayerwiseError(
            f"timm:{architecture} could not be built: {reason[:300]}; random:timm:{architecture} "
            f"opens it without its weights, timm:{architecture}@FILE with those of a file"
        ) from error


def timm_preparation(module: nn.Module) -> ImagePreparation:
    """The evaluation preparation that a module's configuration describes.

    Raises:
        LayerwiseError: it is not one of resizing and cutting out the centre of a colour picture.
    """
    from timm.data.config import resolve_model_data_config

    said = resolve_model_data_config(module)
    channels, height, width = said["input_size"]
    scaled = tuple(math.floor(side / said["crop_pct"]) for side in (height, width))
    distorts = said["crop_mode"] == "squash"
    if channels != 3 or said["crop_mode"] == "border" or (height != width and not distorts):
        raise LayerwiseError(
            f"the preparation of this network is unusual ({said}); give prepare= and example="
        )
    return ImagePreparation(
        (scaled[0], scaled[1]) if distorts else scaled[0],
        (height, width),
        said["interpolation"],
        tuple(said["mean"]),
        tuple(said["std"]),
    )
