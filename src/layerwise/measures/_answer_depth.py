"""At which depth is an answer written? Contributions of every block to the answer's logit (P155).

The last state of a prompt is the embedding plus what every attention and MLP added to it.
Integrated gradients of the answer's logit along the straight way from the embedding to the whole
sum give each of them its part; the parts add up to what the logit has gained, exactly but for the
steps. The depth score is the mean depth of the parts, weighted by their size. If harder questions
used more depth, their score would be larger; the paper finds no sign of that for questions of
several hops. Ours: only what a branch writes for the answer itself counts, not what later branches
make of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.models._hooks import at_rest
from layerwise.taps import Addition, Unembed, additions


@final
@dataclass(frozen=True)
class AnswerDepth:
    """What each block writes of the answer.

    Args:
        layers: addresses of the blocks.
        attention: part of the answer's logit that the attention of each block writes.
        mlp: the same of all else that the block adds.
        gained: logit of the answer in the end, less what the embedding alone gives.
    """

    layers: tuple[str, ...]
    attention: Float[Tensor, "n l"]
    mlp: Float[Tensor, "n l"]
    gained: Float[Tensor, " n"]

    @property
    def score(self) -> Float[Tensor, " n"]:
        """Mean depth of the parts, weighted by their size; 1 is the first block."""
        weight = self.attention.abs() + self.mlp.abs()
        depth = torch.arange(1, len(self.layers) + 1).to(weight)
        tiny = torch.finfo(weight.dtype).tiny
        return (weight * depth).sum(1) / weight.sum(1).clamp(min=tiny)


@paper(
    "Do Language Models Use Their Depth Efficiently?",
    year=2025,
    arxiv="2505.13898",
    no=(155,),
)
def answer_depth(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    labels: Int[Tensor, " n"],
    *,
    steps: int = 32,
) -> AnswerDepth:
    """Find which blocks write the answers to some prompts, in one forward.

    Args:
        language_model: a decoder whose blocks add to a residual stream.
        token_ids: prompts of one length, without their answers.
        labels: the token that answers each.
        steps: of the integral.

    Raises:
        LayerwiseError: no prompts, answers that are no tokens, or a network that is no language
            model or has no residual stream.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = answer_depth(**examples(answer_depth), steps=64)
        >>> parts = (found.attention + found.mlp).sum(1)
        >>> bool(torch.allclose(parts, found.gained, atol=0.01))
        True
    """
    unembed = Unembed(language_model)
    if not len(labels) or len(labels) != len(token_ids) or token_ids.shape[1] == 0:
        raise LayerwiseError(
            f"{len(token_ids)} prompts and {len(labels)} answers; give at least one, and as many"
        )
    if not bool((labels.min() >= 0) & (labels.max() < unembed.vocabulary)):
        raise LayerwiseError(f"answers must be tokens from 0 to {unembed.vocabulary - 1}")
    start, parts = _written(language_model, token_ids)
    blocks = [layer.name for layer in language_model.layers if layer.kind == "block"]
    attention, rest = (
        torch.stack([parts[name][kind] for name in blocks], 1) for kind in ("attention", "mlp")
    )
    change = (attention + rest).sum(1)
    gradient = torch.zeros_like(start)
    for step in range(steps):
        gradient += _gradient(unembed, start + (step + 0.5) / steps * change, labels) / steps
    ends = [unembed(state).gather(1, labels[:, None])[:, 0] for state in (start + change, start)]
    return AnswerDepth(
        layers=tuple(blocks),
        attention=(attention * gradient[:, None]).sum(2),
        mlp=(rest * gradient[:, None]).sum(2),
        gained=ends[0] - ends[1],
    )


def _written(
    network: Network, token_ids: Tensor
) -> tuple[Float[Tensor, "n d"], dict[str, dict[str, Tensor]]]:
    """The stream before the first block, and what each block adds to it, at the last place."""
    parts: dict[str, dict[str, Tensor]] = {}
    starts: list[Tensor] = []

    def receive(added: Addition) -> None:
        branch = added.branch[:, -1]
        starts.append(added.stream[:, -1].clone())
        empty = {kind: torch.zeros_like(branch) for kind in ("attention", "mlp")}
        own = parts.setdefault(added.block.name, empty)
        own["attention" if "mlp" not in added.kinds else "mlp"] += branch

    with at_rest(network.module), additions(network, receive) as purely:
        network({"input_ids": token_ids})
    if purely != {layer.name for layer in network.layers if layer.kind == "block"}:
        raise LayerwiseError(
            f"{network.name} has blocks that do more than add to what flows into them; the depth "
            "of answers is defined for networks with a residual stream from end to end"
        )
    return starts[0], parts


def _gradient(
    unembed: Unembed, states: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """Of each answer's logit with respect to its state."""
    states = states.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = unembed.graded(states).gather(1, labels[:, None]).sum()
    (found,) = torch.autograd.grad(logits, states)
    return found
