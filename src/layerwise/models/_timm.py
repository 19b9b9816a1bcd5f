"""Networks of `timm`, with the preparation their configuration describes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import nn

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._checkpoint import tensors_only
from layerwise.models._feed import Feed, Opened
from layerwise.models._hub import hub_file
from layerwise.models._own import stack
from layerwise.models._preparation import ImagePreparation
from layerwise.models._seeded import seeded


def find_timm(architecture: str, *, random: bool, classes: int | None = None) -> Opened:
    """Build a network of `timm`, with the weights it was published with or with random ones.

    Args:
        architecture: as `timm.list_models` spells it, with or without the weights' tag.
        random: random weights, always the same, without any download.
        classes: number of classes of its head; None is as published.

    Raises:
        LayerwiseError: there is no such name, or its weights cannot be fetched.
    """
    import timm

    if not timm.is_model(architecture):
        raise unknown("timm network", architecture, timm.list_models())
    if "." in architecture and architecture not in timm.list_models(pretrained=True):
        plain = architecture.partition(".")[0]
        raise unknown("timm network", architecture, timm.list_models(f"{plain}.*", pretrained=True))
    head: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    weights = {} if random else _published(architecture)
    try:
        with seeded(), tensors_only():
            module: Any = timm.create_model(architecture, pretrained=not random, **weights, **head)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise LayerwiseError(f"timm:{architecture} could not be built: {reason}") from error
    what = "random weights" if random else f"weights {module.pretrained_cfg['tag'] or 'of timm'}"
    feed = partial(timm_feed, module)
    return Opened(module.eval(), architecture, f"{architecture} of timm, {what}.", feed)


def timm_feed(module: nn.Module) -> Feed:
    """The evaluation preparation that a module's configuration describes.

    Raises:
        LayerwiseError: it is not one of resizing a colour picture and cutting out its centre.
    """
    from timm.data.config import resolve_model_data_config

    said = resolve_model_data_config(module)
    channels, height, width = said["input_size"]
    distorts = said["crop_mode"] == "squash"
    if channels != 3 or said["crop_mode"] == "border" or (height != width and not distorts):
        raise LayerwiseError(
            f"this network of timm has a preparation beyond resizing and cropping ({said}); give "
            "prepare= and modality='image'"
        )
    scaled = [math.floor(side / said["crop_pct"]) for side in (height, width)]
    prepare = ImagePreparation(
        (scaled[0], scaled[1]) if distorts else scaled[0],
        (height, width),
        said["interpolation"],
        tuple(said["mean"]),
        tuple(said["std"]),
    )
    return Feed("image", prepare, stack)


def _published(architecture: str) -> dict[str, Any]:
    """Where the published weights lie, as safetensors in the hub's local cache if they can be."""
    import timm

    said = timm.get_pretrained_cfg(architecture)
    if said is None or not (said.hf_hub_id or said.url):
        raise LayerwiseError(
            f"timm has no weights for {architecture}; random:timm:{architecture} opens it without, "
            f"timm:{architecture}@FILE with those of a file"
        )
    if not said.hf_hub_id or said.hf_hub_filename:
        return {}
    try:
        file = hub_file(said.hf_hub_id, "model.safetensors")
    except LayerwiseError as error:
        raise LayerwiseError(
            f"timm:{architecture}: {error}; random:timm:{architecture} opens it without weights, "
            f"timm:{architecture}@FILE with those of a file"
        ) from error
    return {"pretrained_cfg_overlay": {"file": file, "custom_load": False}}
