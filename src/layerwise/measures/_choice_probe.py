"""What each layer of a language model knows, asked with options and without any training (P060).

At every layer the states pass the final norm and the head, so that it gives a probability to each
token. An option scores the mean log-probability of its tokens after the question; the layer's
answer is the option of the highest score. Layers that know nothing answer at chance. Ours: every
accuracy has a bootstrap interval over the questions, and layers are compared over the same ones.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._bootstrap import Interval, bootstrap_mean
from layerwise.measures._questions import NO_TOKEN
from layerwise.models import Network
from layerwise.taps import Unembed, read
from layerwise.taps._lens import stream_layers

_BATCH = 2048  # tokens in a forward


@final
@dataclass(frozen=True)
class ChoiceProbe:
    """What each layer answers.

    Args:
        layers: addresses, the last block last.
        scores: mean log-probability of the tokens of each option.
        labels: number of the right option.
    """

    layers: tuple[str, ...]
    scores: Float[Tensor, "l n k"]
    labels: Int[Tensor, " n"]

    @property
    def right(self) -> Bool[Tensor, "l n"]:
        """Which questions each layer answers rightly."""
        return self.scores.argmax(2) == self.labels

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / self.scores.shape[2]

    def accuracy(self) -> Interval:
        """Share of right answers of each layer, with its 95 % interval.

        Raises:
            LayerwiseError: a single question.
        """
        return bootstrap_mean(self.right.T.to(self.scores.dtype))

    def first_above_chance(self) -> str | None:
        """The first layer from which on all are above chance by two standard deviations of it."""
        n, p = len(self.labels), self.chance
        bound = p + 2 * (p * (1 - p) / n) ** 0.5
        above = (self.right.double().mean(1) > bound).tolist()
        if not above[-1]:
            return None
        below = [i for i, sure in enumerate(above) if not sure]
        return self.layers[below[-1] + 1 if below else 0]


@paper(
    "Beyond Surface: Probing LLaMA Across Scales and Layers",
    year=2023,
    arxiv="2312.04333",
    no=(60,),
)
def choice_probe(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    labels: Int[Tensor, " n"],
    *,
    options: Int[Tensor, "n k s"] | None = None,
    layers: str | None = None,
) -> ChoiceProbe:
    """Let every layer answer multiple-choice questions.

    `Asked.of` makes the arguments of texts, `arithmetic` and its like make questions.

    Args:
        language_model: its last block must be followed by a norm and a head alone.
        token_ids: the questions, filled up on the right with -1.
        labels: number of the right option of each.
        options: tokens of each option, filled up likewise; without it the tokens 0, 1, and so on,
            one for each class of `labels`.
        layers: addresses or patterns; without it the embedding and all blocks.

    Raises:
        LayerwiseError: no questions, rows that do not match, an empty question or option, a label
            without an option, or a network that is no language model.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = choice_probe(**examples(choice_probe))
        >>> found.scores.shape, round(found.chance, 3)
        (torch.Size([4, 36, 3]), 0.333)
    """
    if options is None:
        classes = torch.arange(int(labels.max()) + 1 if len(labels) else 1)
        options = classes[None, :, None].expand(len(labels), -1, 1)
    _require(token_ids, labels, options)
    unembed = Unembed(language_model)
    names = stream_layers(language_model, layers, last=unembed.block)
    texts = _texts(token_ids, options)
    total = torch.zeros(len(names), *options.shape[:2], dtype=torch.float64)
    for length, group in texts.items():
        rows = list(group)
        size = max(1, _BATCH // length)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            ids = torch.tensor(part, device=language_model.device)
            states = read(language_model, {"input_ids": ids}, names)
            wanted = [(row, *each) for row, text in enumerate(part) for each in group[text]]
            # Only where an option's token is expected do states pass the head.
            row, place, token, question, option = torch.tensor(wanted).T
            for i, name in enumerate(names):
                said = _gathered(unembed, states[name][row, place], token)
                total[i].index_put_((question, option), said.double().cpu(), accumulate=True)
    scores = total / (options != NO_TOKEN).sum(2)
    dtype = next(p.dtype for p in language_model.module.parameters() if p.is_floating_point())
    return ChoiceProbe(tuple(names), scores.to(torch.promote_types(dtype, torch.float32)), labels)


Expected = tuple[int, int, int, int]
"""Place in a text, the token that is expected after it, question, option."""


def _texts(token_ids: Tensor, options: Tensor) -> dict[int, dict[tuple[int, ...], list[Expected]]]:
    """Every different text that has to be read, by length, and what is expected where.

    Options of one token all follow the question alone, and share one text.
    """
    found: dict[int, dict[tuple[int, ...], list[Expected]]] = defaultdict(lambda: defaultdict(list))
    for question, (asked, offered) in enumerate(
        zip(token_ids.tolist(), options.tolist(), strict=True)
    ):
        prompt = [token for token in asked if token != NO_TOKEN]
        for number, filled in enumerate(offered):
            option = [token for token in filled if token != NO_TOKEN]
            text = (*prompt, *option[:-1])
            first = len(prompt) - 1
            found[len(text)][text] += [
                (first + i, token, question, number) for i, token in enumerate(option)
            ]
    return found


def _gathered(unembed: Unembed, states: Tensor, tokens: Tensor) -> Float[Tensor, " m"]:
    """Log-probability of one token after each state."""
    parts = [
        said.gather(1, tokens[rows, None].to(said.device))[:, 0]
        for rows, said in unembed.blocks(states)
    ]
    return torch.cat(parts)


def _require(token_ids: Tensor, labels: Tensor, options: Tensor) -> None:
    counts = {len(token_ids), len(labels), len(options)}
    if len(counts) != 1 or not len(labels):
        raise LayerwiseError(
            f"{len(token_ids)} questions, {len(labels)} labels and options of {len(options)}; give "
            "at least one question, and as many of each"
        )
    if not bool((labels.min() >= 0) & (labels.max() < options.shape[1])):
        raise LayerwiseError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {options.shape[1]} "
            "options; count from 0"
        )
    for what, rows in (("a question", token_ids), ("an option", options)):
        if not bool((rows != NO_TOKEN).any(-1).all()):
            raise LayerwiseError(f"{what} holds no token; leave it out")
