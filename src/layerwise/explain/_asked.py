"""What a network is asked: its classes, its next word, or what makes an embedding what it is."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._hide import covered
from layerwise.explain._target import Target
from layerwise.features import Last
from layerwise.models import ImagePreparation, Network, TextPreparation

_IMAGENET = 1000


def asked(network: Network, of: str | None) -> Target:
    """What is read off a network: a layer's channels, its classes, or its next word.

    Args:
        network: the network.
        of: address of the layer; None is what the network returns.

    Raises:
        LayerwiseError: no such layer, or the network returns several things.
    """
    if of is not None:
        return Target(network.layers.find(of).name)
    try:
        returned = network.layers.find(".")
    except LayerwiseError as error:
        raise LayerwiseError(f"{error}; name one with of=, --of in the command") from error
    next_word = returned.sure.form == "tokens" and returned.name.endswith("['logits']")
    return Target(returned.name, Last()) if next_word else Target(returned.name)


def covered_but_last(
    network: Network,
    inputs: Inputs,
    /,
    *,
    keep: Tensor | None = None,
    target: Target | None = None,
) -> Float[Tensor, "n c"]:
    """Cover words, but never the last, which is where the next one is read off."""
    if keep is not None:
        keep = keep.clone()
        keep[:, -1] = 1
    return covered(network, inputs, keep=keep, target=target)


class Likeness:
    """Cosine to the embedding of each of some samples."""

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = normalize(embeddings, dim=1)

    def __call__(self, rows: Tensor) -> Tensor:
        return normalize(rows, dim=1) @ self.embeddings.to(rows).T


def as_it_is(columns: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """No change.

    Args:
        columns: of a target.
    """
    return columns


class Names:
    """What people call the columns."""

    def __init__(self, network: Network, columns: int) -> None:
        self.network, self.columns = network, columns

    def __call__(self, label: int) -> str:
        prepare = self.network.prepare
        if isinstance(prepare, TextPreparation) and self.columns >= len(prepare.tokenizer) > 0:
            return str(prepare.tokenizer.decode([label]))
        if isinstance(prepare, ImagePreparation) and self.columns == _IMAGENET:
            from timm.data import ImageNetInfo

            return str(ImageNetInfo().index_to_description(label)).split(",")[0]
        return f"column {label}"
