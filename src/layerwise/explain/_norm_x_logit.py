"""NormXLogit: how much a token counts, from its embedding's length and its own vote.

`score_i = |e_i| * logit_c(r_i)`: `e_i` is the word's row in the embedding table, before positions
and norms, and `r_i` the token's last state, which the head reads as if it were the whole text.
One forward, no gradient. With a target on another layer the head reads that layer's states.

Marks of beginning and end get no score, and padding none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, require_inputs, running
from layerwise.explain._hide import main
from layerwise.explain._target import Target, chosen
from layerwise.explain._words import real
from layerwise.models import Network
from layerwise.taps import read


@paper("NormXLogit: The Head-on-Top Never Lies", year=2024, arxiv="2411.16252", no=(25,))
def norm_x_logit(
    language_model: Network,
    token_ids: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
    embedding: str | None = None,
) -> Float[Tensor, "n t 1"]:
    """Score every token of some texts for a label, in one forward.

    Args:
        language_model: a network of texts, which is left as it was; an encoder needs a target with
            a head.
        token_ids: a batch of texts, `[n t]` or as the network's `batch` makes it.
        labels: column of the target, for each text: a class, or the next token.
        target: layer and head; its pooling is not used, for each token is read on its own.
        embedding: address of the word embeddings; the default is the largest table.

    Raises:
        LayerwiseError: no table of embeddings, a target without tokens, a label out of range, or
            texts that the network does not run on.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> given = examples(norm_x_logit)
        >>> norm_x_logit(**given).shape
        torch.Size([36, 5, 1])
    """
    language_model.take_example(token_ids)
    n = require_inputs(token_ids)
    target = target or Target()
    layer = target.found(language_model)
    table = embedding or _table(language_model)
    if layer.sure.form != "tokens":
        raise LayerwiseError(
            f"layer {layer.name!r} gives one row for each text; NormXLogit reads every token, "
            f"so give target=Target(layer, head=...) with a layer of tokens"
        )
    with running(language_model, token_ids):
        values = read(language_model, token_ids, [table, layer.name])
    states = values[layer.name]
    votes = states.flatten(0, 1)
    if target.head is not None:
        with torch.no_grad():
            votes = target.head(votes)
    if labels.shape != (n,):
        chosen(states[:, 0], labels)  # says what is wrong
    votes = chosen(votes, labels.repeat_interleave(states.shape[1])).unflatten(0, (n, -1))
    ids = token_ids[main(token_ids)] if isinstance(token_ids, Mapping) else token_ids
    scores = values[table].norm(dim=2) * votes * real(language_model, ids)
    if isinstance(token_ids, Mapping) and "attention_mask" in token_ids:
        scores = scores * token_ids["attention_mask"]
    return scores.unsqueeze(2)


def _table(network: Network) -> str:
    tables = [layer for layer in network.layers if layer.module == "Embedding"]
    if not tables:
        raise LayerwiseError(
            f"{network.name} has no table of embeddings; give the address of the layer that "
            f"holds the words in embedding="
        )
    return max(tables, key=lambda layer: layer.parameters).name
