"""How a network is fed: what a sample is, how it is prepared, and how samples are joined."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._network import Inputs

if TYPE_CHECKING:
    from PIL import Image

Modality = Literal["image", "text", "tensor"]

EXAMPLE_TEXT = "The quick brown fox jumps over the lazy dog."


@final
@dataclass(frozen=True)
class Feed:
    """All that stands between a sample and a batch.

    Args:
        modality: what one sample is.
        prepare: turns one sample into a tensor or a dict of tensors, without batch axis.
        collate: joins prepared samples into a batch.
    """

    modality: Modality
    prepare: Callable[[Any], Any]
    collate: Callable[[Sequence[Any]], Inputs]

    def example(self) -> Inputs | None:
        """A batch of one picture or text, always the same; None where samples are tensors.

        Raises:
            LayerwiseError: the preparation fails on it.
        """
        if self.modality == "tensor":
            return None
        sample = example_picture() if self.modality == "image" else EXAMPLE_TEXT
        try:
            # A copy, so that the example is not counted among the texts that were cut.
            return copy.copy(self.collate)([self.prepare(sample)])
        except LayerwiseError:
            raise
        except Exception as error:
            raise LayerwiseError(
                f"prepare= and collate= fail on an example ({self.modality}): "
                f"{type(error).__name__}: {error}"
            ) from error


@final
@dataclass(frozen=True)
class Opened:
    """A module that was found by its name, before it is known how the user wants it fed.

    Args:
        module: in evaluation mode, on the CPU.
        name: short name for tables and files.
        card: what it is and where its weights come from.
        feed: the network's own feed; it is asked for only where the user gives none.
    """

    module: nn.Module
    name: str
    card: str
    feed: Callable[[], Feed]


def example_picture() -> Image.Image:
    """A smooth coloured picture, always the same, whose values spread like a photograph's."""
    import numpy as np
    from PIL import Image

    rough = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    return Image.fromarray(rough).resize((256, 256), Image.Resampling.BICUBIC)
