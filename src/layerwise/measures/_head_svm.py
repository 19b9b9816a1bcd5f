"""How near a head of a trained network comes to the support vector machine of what it looks at.

P039: gradient descent on one attention layer goes in direction towards the smallest weights that
lead the tokens it selects above all others. Of a real head the samples are texts, the query is
their last place, and the selected token of each is the one that it attends to most. Ours: the head
is seen between its queries and keys, where its weights are the identity whatever it projects,
normalises and rotates before; their cosine with the machine's weights, and the share of the largest
possible margin that they reach, say how far it is from the direction of the theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._attention_svm import attention_svm
from layerwise.models import Network
from layerwise.taps import asking
from layerwise.taps._attention import attention_layers


@final
@dataclass(frozen=True)
class HeadSVM:
    """The heads of one attention layer beside the machines of the tokens that they select.

    Args:
        layer: address of the attention layer.
        chosen: token that each head attends to most from the last place of each text.
        mass: how much of its attention it gives to that token.
        feasible: whether any weights between queries and keys select all of a head's tokens.
        correlation: cosine of the head's weights and the machine's; NaN where not feasible.
        reached: least lead of a chosen token, as a share of the largest that weights of the same
            norm could give, from 0 to 1.
    """

    layer: str
    chosen: Int[Tensor, "h n"]
    mass: Float[Tensor, "h n"]
    feasible: Bool[Tensor, " h"]
    correlation: Float[Tensor, " h"]
    reached: Float[Tensor, " h"]


@paper("Transformers as Support Vector Machines", year=2023, arxiv="2308.16898", no=(39,))
def head_svm(
    language_model: Network, token_ids: Int[Tensor, "n t"], *, layer: str | None = None
) -> HeadSVM:
    """Compare each head of an attention layer with the support vector machine of its choices.

    Args:
        language_model: a causal language model.
        token_ids: texts of one length, which no window of the attention may cut; the last place
            of each asks.
        layer: address of an attention layer; without it the one in the middle.

    Raises:
        LayerwiseError: no such layer, fewer than two tokens, or attention that cannot be seen.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = head_svm(**examples(head_svm))
        >>> found.chosen.shape == found.mass.shape, bool((found.reached[found.feasible] <= 1).all())
        (True, True)
    """
    count, length = token_ids.shape
    if count < 1 or length < 2:
        raise LayerwiseError(f"{count} texts of {length} tokens; give at least one text of two")
    if layer is None:
        attentions = attention_layers(language_model)
        layer = attentions[len(attentions) // 2].name if attentions else "kind:attention"
    seen = asking(language_model, {"input_ids": token_ids}, layer)
    queries, keys = seen.queries[:, :, -1].double(), seen.keys.double()
    scores = torch.einsum("nhke,nhe->hnk", keys, queries)
    chosen = scores.argmax(2)
    identity = torch.eye(keys.shape[3], dtype=keys.dtype, device=keys.device)
    machines = [
        attention_svm(keys[:, head], chosen=chosen[head], queries=queries[:, head])
        for head in range(keys.shape[1])
    ]
    reached = [svm.margin(identity) * svm.weight.norm() for svm in machines]
    return HeadSVM(
        layer=seen.layer,
        chosen=chosen,
        mass=scores.softmax(2).amax(2),
        feasible=torch.stack([svm.feasible for svm in machines]),
        correlation=torch.stack([svm.correlation(identity) for svm in machines]),
        reached=torch.stack(reached),
    )
