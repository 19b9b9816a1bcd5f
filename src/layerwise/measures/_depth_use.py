"""Does a language model need its depth for a text? (P155).

For every block of a decoder: how much its attention and its MLP add to the residual stream, and
whether they strengthen or erase what is there; what skipping it does to later blocks and to the
output, at all tokens or only at past ones; and how close the logit lens is to the final prediction.
The paper compares the first half of the blocks with the second. Here everything is kept for each
text, so that differences between layers can be given with intervals over texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._branches import Part, branches
from layerwise.measures._skipping import Skipped, skipping
from layerwise.models import Layer, Network
from layerwise.taps import Unembed, logit_lens


@final
@dataclass(frozen=True)
class DepthUse:
    """How a language model uses its blocks, for each text and block.

    Args:
        layers: addresses of the blocks.
        attention: length of what the attention adds over that of the stream, mean over tokens; NaN
            where a block adds attention and MLP in one.
        mlp: the same of the MLP.
        whole: the same of all that the block adds.
        attention_cosine: cosine of what the attention adds with the stream; below 0 it erases.
        mlp_cosine: the same of the MLP.
        whole_cosine: the same of all that the block adds.
        skipped: effects of leaving the block out.
        future: of leaving it out in the first part of the text, on the rest of it.
        divergence: KL divergence of the logit lens to the final distribution, mean over tokens.
        overlap: share of the final five first choices among the logit lens's five.
    """

    layers: tuple[str, ...]
    attention: Float[Tensor, "n l"]
    mlp: Float[Tensor, "n l"]
    whole: Float[Tensor, "n l"]
    attention_cosine: Float[Tensor, "n l"]
    mlp_cosine: Float[Tensor, "n l"]
    whole_cosine: Float[Tensor, "n l"]
    skipped: Skipped
    future: Skipped
    divergence: Float[Tensor, "n l"]
    overlap: Float[Tensor, "n l"]

    @property
    def effect(self) -> Float[Tensor, " l"]:
        """Of leaving a block out at past tokens: its mean over the later blocks; 0 for the last."""
        later = self.future.later.mean(0)
        count = torch.arange(len(later), 0, -1, device=later.device) - 1
        return later.sum(1) / count.clamp(min=1)

    @property
    def effective_depth(self) -> int:
        """Number of blocks up to the last one whose `effect` is at least half of the largest."""
        effect = self.effect
        return int((effect >= effect.max() / 2).nonzero().max()) + 1


@paper(
    "Do Language Models Use Their Depth Efficiently?",
    year=2025,
    arxiv="2505.13898",
    no=(155,),
)
def depth_use(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    *,
    mask: Bool[Tensor, "n t"] | None = None,
    split: float = 0.5,
) -> DepthUse:
    """Measure contributions, effects of skipping, and the logit lens, block by block.

    It runs the network once for every block, on twice the texts: 1,000 tokens are plenty.

    Args:
        language_model: a decoder whose blocks add to a residual stream.
        token_ids: texts, padded on the right.
        mask: which tokens are real; all without it.
        split: part of the text that is the past, between 0 and 1.

    Raises:
        LayerwiseError: no texts or texts of less than two tokens, or a network that is no language
            model or has no residual stream.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> use = depth_use(**examples(depth_use))
        >>> use.whole.shape, bool((use.skipped.later.tril() == 0).all())
        (torch.Size([36, 3]), True)
    """
    if token_ids.numel() == 0 or token_ids.shape[1] < 2:
        raise LayerwiseError(
            f"token_ids of shape {tuple(token_ids.shape)} hold too little; give at least one text "
            "of two tokens"
        )
    real = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask
    if not bool(real[:, 0].all()):
        raise LayerwiseError("a text has no token at its first place; pad on the right")
    unembed = Unembed(language_model)
    blocks = [layer for layer in language_model.layers if layer.kind == "block"]
    parts = _contributions(language_model, token_ids, blocks, real)
    past = min(max(1, round(split * token_ids.shape[1])), token_ids.shape[1] - 1)
    skipped, future = skipping(language_model, token_ids, blocks, unembed, mask=real, split=past)
    names = [block.name for block in blocks]
    lens = logit_lens(language_model, token_ids, layers=",".join(names), mask=real)
    return DepthUse(
        layers=tuple(names),
        attention=parts["attention"][0],
        mlp=parts["mlp"][0],
        whole=parts["whole"][0],
        attention_cosine=parts["attention"][1],
        mlp_cosine=parts["mlp"][1],
        whole_cosine=parts["whole"][1],
        skipped=skipped,
        future=future,
        divergence=_by_text(lens.divergence, real),
        overlap=_by_text(lens.overlap, real),
    )


def _contributions(
    network: Network, token_ids: Tensor, blocks: list[Layer], real: Tensor
) -> dict[Part, tuple[Tensor, Tensor]]:
    """Ratio and cosine of each part, `[n l]`."""
    place = {block.name: i for i, block in enumerate(blocks)}
    found = branches(network, {"input_ids": token_ids})
    if {branch.block.name for branch in found if branch.part == "whole"} != set(place):
        raise LayerwiseError(
            f"{network.name} has blocks that do more than add to what flows into them; depth use "
            "is defined for networks with a residual stream from end to end"
        )
    kinds: tuple[Part, ...] = ("attention", "mlp", "whole")
    empty = found[0].ratio.new_full((len(token_ids), len(blocks)), torch.nan)
    table = {kind: (empty.clone(), empty.clone()) for kind in kinds}
    for branch in found:
        if branch.part in table:
            ratio, cosine = table[branch.part]
            ratio[:, place[branch.block.name]] = _mean(branch.ratio, real)
            cosine[:, place[branch.block.name]] = _mean(branch.cosine, real)
    return table


def _mean(values: Float[Tensor, "*l n t"], real: Bool[Tensor, "n t"]) -> Float[Tensor, "*l n"]:
    return (values * real).sum(-1) / real.sum(-1)


def _by_text(values: Float[Tensor, "l m"], real: Bool[Tensor, "n t"]) -> Float[Tensor, "n l"]:
    """Mean over the real tokens of each text."""
    spread = values.new_zeros(len(values), *real.shape)
    spread[:, real] = values
    return _mean(spread, real).T
