"""Networks of `torchvision`, with the preparation their weights were evaluated with."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from functools import partial
from inspect import signature
from typing import Any

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._checkpoint import tensors_only
from layerwise.models._feed import Feed, Opened
from layerwise.models._own import stack
from layerwise.models._preparation import ImagePreparation
from layerwise.models._seeded import seeded


def find_torchvision(architecture: str, *, random: bool, classes: int | None = None) -> Opened:
    """Build a network of `torchvision`, with its best published weights or with random ones.

    Args:
        architecture: as `torchvision.models.list_models` spells it.
        random: random weights, always the same, without any download.
        classes: number of classes of its head; None is as published.

    Raises:
        LayerwiseError: there is no such name, or its weights cannot be fetched.
    """
    from torchvision import models

    if architecture not in models.list_models():
        raise unknown("torchvision network", architecture, models.list_models())
    published = models.get_model_weights(architecture).DEFAULT
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if (
        random
        and "weights_backbone" in signature(models.get_model_builder(architecture)).parameters
    ):
        options["weights_backbone"] = None
    try:
        with seeded(), tensors_only(), _silent():
            module = models.get_model(
                architecture, weights=None if random else published, **options
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise LayerwiseError(
            f"torchvision:{architecture} could not be built: {reason}; "
            f"random:torchvision:{architecture} opens it without weights, "
            f"torchvision:{architecture}@FILE with those of a file"
        ) from error
    weights = "random weights" if random else f"weights {published.name}"
    card = f"{architecture} of torchvision, {weights}."
    return Opened(module.eval(), architecture, card, partial(_feed, architecture, published))


def _feed(architecture: str, published: Any) -> Feed:
    from torchvision.transforms._presets import ImageClassification

    said = published.transforms()
    if not isinstance(said, ImageClassification):
        raise LayerwiseError(
            f"torchvision:{architecture} is no classifier, and its preparation gives no batch of "
            "equal pictures; give prepare= and modality='image'"
        )
    prepare = ImagePreparation(
        said.resize_size[0],
        (said.crop_size[0], said.crop_size[0]),
        said.interpolation.value,
        tuple(said.mean),
        tuple(said.std),
    )
    return Feed("image", prepare, stack)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the line per download that torch prints, and advice on how weights are drawn."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        yield
