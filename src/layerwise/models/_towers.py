"""One side of a network that was trained on pictures and texts: CLIP's pictures, or its texts.

`hf:NAME#image` takes pictures and `hf:NAME#text` takes texts, of CLIP and of SigLIP. The last layer
of both is `joint`: the tower's own summary in the space that both share, as `transformers` computes
it. There a text lies near the pictures it describes. Both sides hold the whole network, so that
they have the same weights hash: vectors of one belong to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, final

from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPModel, SiglipModel

    Both: TypeAlias = CLIPModel | SiglipModel

IMAGE, TEXT = "#image", "#text"

JOINT = "joint"
"""Address of the layer that both sides share."""


@final
class ImageTower(nn.Module):
    """Pictures into the joint space.

    Args:
        both: the network of pictures and texts.
    """

    def __init__(self, both: Both) -> None:
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

    SigLIP was trained on texts that are filled up to one length, and looks at what fills them: it
    is not told where a text ends.

    Args:
        both: the network of pictures and texts.

    Attributes:
        filled: whether texts have to be filled up.
    """

    def __init__(self, both: Both) -> None:
        super().__init__()
        self.both = both
        self.joint = nn.Identity()
        self.config: Any = both.config.text_config
        self.filled: bool = both.config.model_type == "siglip"

    def forward(
        self, input_ids: Int[Tensor, "n t"], attention_mask: Int[Tensor, "n t"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Bring texts there."""
        mask = None if self.filled else attention_mask
        seen = self.both.get_text_features(input_ids=input_ids, attention_mask=mask)
        joint: Tensor = self.joint(seen.pooler_output)
        return joint


def has_sides(module: nn.Module) -> bool:
    """Whether it is a network of pictures and texts that can be opened by its sides."""
    from transformers import CLIPModel, SiglipModel

    return isinstance(module, CLIPModel | SiglipModel)


def one_side(both: nn.Module, side: str) -> ImageTower | TextTower:
    """The side of a network that is asked for.

    Args:
        both: a network that `has_sides`.
        side: `#image` or `#text`.
    """
    of_both: Any = both
    return ImageTower(of_both) if side == IMAGE else TextTower(of_both)


def side_of(module: nn.Module) -> str:
    """`#image` or `#text` for one side of a network, nothing for any other."""
    if isinstance(module, ImageTower):
        return IMAGE
    return TEXT if isinstance(module, TextTower) else ""


def idle(module: nn.Module) -> list[str]:
    """Addresses of what never runs in one side of a network: the other side."""
    parts = {IMAGE: ("text_model", "text_projection"), TEXT: ("vision_model", "visual_projection")}
    both: Any = getattr(module, "both", None)
    return [f"both.{part}" for part in parts.get(side_of(module), ()) if hasattr(both, part)]


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
