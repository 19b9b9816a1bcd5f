"""Which network reads a text for an index: its own, or the texts' side of a network of both."""

from __future__ import annotations

from layerwise.errors import LayerwiseError
from layerwise.models import JOINT, of_texts
from layerwise.search._card import Card

_GIVE = {"image": "a picture", "tensor": "a .npy file"}


def text_network(card: Card) -> str:
    """The words that open the network by which a text asks an index.

    Vectors of pictures and of texts can be compared in the joint space alone: an index of pictures
    is asked by texts if it is made of that layer only, without whitening.

    Args:
        card: what the index is made with.

    Raises:
        LayerwiseError: its network was not trained on texts, or it is made of other layers.
    """
    if card.modality == "text":
        return card.network
    source = of_texts(card.network)
    if source is None:
        raise LayerwiseError(
            f"{card.network} reads no texts; give {_GIVE[card.modality]} (a text finds pictures "
            "only with a network that was trained on both, such as hf:NAME#image of a CLIP)"
        )
    if card.layers != (JOINT,) or card.descriptor.whiten is not None:
        raise LayerwiseError(
            f"the index is made of {', '.join(card.layers)}, where a text has no place; give a "
            f"picture, or make an index with --layers {JOINT}"
        )
    return source
