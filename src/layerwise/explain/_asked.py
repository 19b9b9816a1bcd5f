"""What a network is asked: its classes, its next word, or what makes an embedding what it is."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

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
        one = next((each.name for each in network.layers if each.name.startswith(".[")), "NAME")
        raise LayerwiseError(
            f'{error}; its channels are explained with of=, in the command with --of "{one}"'
        ) from error
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
    """How far each row reaches along the embedding of each of some samples: 1 for its own.

    A cosine would do to compare, but not to explain: it is highest at the sample itself, so its
    gradient is zero there.
    """

    def __init__(self, embeddings: Tensor) -> None:
        self.axes = embeddings / embeddings.square().sum(1, keepdim=True).clamp(min=1e-12)

    def __call__(self, rows: Tensor) -> Tensor:
        """One column for each sample."""
        return rows @ self.axes.to(rows).T


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
