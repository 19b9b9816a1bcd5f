"""Which language a language model is nearest to in its middle, whatever it reads (P180).

Every layer's state is read as if it were the last one, by the final norm and the head, and the
probability of the tokens that are one language's own is added up. In code the paper finds English,
with the keywords that it lends to programming, in the second half of the middle layers.

Which tokens are a language's own is ours: those that occur in its texts and in no other's. The
paper lists keywords and words by hand, in prompts that ask for translation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.explain._language_neurons import _languages
from layerwise.models import Network
from layerwise.taps import Unembed, read

_TEXTS = 8  # in a forward


@final
@dataclass(frozen=True)
class LanguageSpace:
    """How near each of `l` layers is to each of `c` languages.

    Args:
        layers: addresses of the layers.
        mass: mean probability of all tokens of the second language's own, in texts of the first.
        tokens: how many tokens are a language's own.
    """

    layers: tuple[str, ...]
    mass: Float[Tensor, "l c c"]
    tokens: Int[Tensor, " c"]


@paper(
    "How Programming Concepts and Neurons Are Shared in Code Language Models",
    year=2025,
    arxiv="2506.01074",
    no=(180,),
)
def language_space(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    labels: Int[Tensor, " n"],
    *,
    layers: str = "kind:block",
) -> LanguageSpace:
    """Measure which languages the layers of a language model are near to.

    Args:
        language_model: the network, which is left as it was.
        token_ids: texts of one length, without padding.
        labels: language of each text, counted from 0.
        layers: where states are read: a pattern.

    Raises:
        LayerwiseError: fewer than 2 languages or one without texts, no such layer, or a network
            whose last block is not followed by a norm and a head alone.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = language_space(**examples(language_space))
        >>> found.mass.shape, len(found.layers)
        (torch.Size([3, 3, 3]), 3)
    """
    classes = _languages(token_ids, labels)
    unembed = Unembed(language_model)
    own = _own_tokens(token_ids, labels, classes, unembed.vocabulary)
    names = [layer.name for layer in language_model.layers.select(layers)]
    sums: dict[str, Tensor] = {}
    for texts, languages in zip(token_ids.split(_TEXTS), labels.split(_TEXTS), strict=True):
        states = read(language_model, {"input_ids": texts.to(language_model.device)}, names)
        of_place = languages.repeat_interleave(texts.shape[1])
        for name, value in states.items():
            for places, logs in unembed.blocks(value.flatten(0, 1)):
                found = logs.exp() @ own.to(logs)
                total = sums.setdefault(name, found.new_zeros(classes, classes))
                total.index_add_(0, of_place[places].to(found.device), found)
    counts = labels.bincount(minlength=classes) * token_ids.shape[1]
    mass = torch.stack([sums[name] / counts[:, None].to(sums[name]) for name in names])
    return LanguageSpace(tuple(names), mass, own.sum(dim=0).long())


def _own_tokens(
    token_ids: Tensor, labels: Tensor, classes: int, vocabulary: int
) -> Float[Tensor, "v c"]:
    """For each token, 1 for the language that alone uses it."""
    used = torch.zeros(classes, vocabulary, device=token_ids.device)
    used[labels[:, None].expand_as(token_ids), token_ids] = 1
    return (used * (used.sum(dim=0) == 1)).T
