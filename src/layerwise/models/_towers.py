"""One side of a network that was trained on pictures and texts: CLIP's pictures, or its texts.

`hf:NAME#image` takes pictures and `hf:NAME#text` takes texts. The last layer of both is `joint`:
the tower's own summary (of a text, its end token) after the projection into the space that both
share, as `transformers` computes it. There a text lies near the pictures it describes. Both sides
hold the whole network, so that they have the same weights hash: vectors of one belong to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPModel

IMAGE, TEXT = "#image", "#text"

JOINT = "joint"
"""Address of the layer that both sides share."""


@final
class ImageTower(nn.Module):
    """Pictures into the joint space.

    Args:
        both: the network of pictures and texts.
    """

    def __init__(self, both: CLIPModel) -> None:
        super().__init__()
        self.both = both
        self.joint = nn.Identity()
        self.config: Any = both.config.vision_config

    def forward(self, pixel_values: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Bring pictures there."""
        seen = self.both.get_image_features(pixel_values=pixel_values)
        joint: Tensor = self.joint(seen.pooler_output)
        return joint


@final
class TextTower(nn.Module):
    """Texts into the joint space.

    Args:
        both: the network of pictures and texts.
    """

    def __init__(self, both: CLIPModel) -> None:
        super().__init__()
        self.both = both
        self.joint = nn.Identity()
        self.config: Any = both.config.text_config

    def forward(
        self, input_ids: Int[Tensor, "n t"], attention_mask: Int[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Bring texts there."""
        seen = self.both.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        joint: Tensor = self.joint(seen.pooler_output)
        return joint


def parted(place: str) -> tuple[str, str]:
    """A place and the side that is asked of it, which may be empty.

    Example:
        >>> parted("clip#text"), parted("clip")
        (('clip', '#text'), ('clip', ''))
    """
    for side in (IMAGE, TEXT):
        if place.endswith(side):
            return place.removesuffix(side), side
    return place, ""


def of_texts(source: str) -> str | None:
    """The words that open the texts of a network of pictures; None if it has none.

    Example:
        >>> of_texts("hf:clip#image"), of_texts("dinov2-small")
        ('hf:clip#text', None)
    """
    place, side = parted(source)
    return f"{place}{TEXT}" if side == IMAGE else None
