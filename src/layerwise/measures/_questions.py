"""Multiple-choice questions for language models: made by rule, so that their answers are exact.

The abilities are those that P060 tells apart. What is asked is ours: arithmetic on small numbers,
whose wrong options lie close by or have their digits swapped; the truth of who is tallest in a
chain of comparisons; and cloze questions from any texts, where a word that the text goes on with
stands among others of the same texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Network

NO_TOKEN = -1
"""What fills up rows of tokens that are shorter than others."""

_NAMES = ("Ann", "Ben", "Cara", "Dan", "Eve", "Finn", "Gina", "Hugo")


@final
@dataclass(frozen=True)
class Question:
    """A beginning, ways to go on, and which of them is right.

    Args:
        prompt: the text before the answer.
        options: each with the space it begins with, if any.
        answer: number of the right one.
    """

    prompt: str
    options: tuple[str, ...]
    answer: int


@final
@dataclass(frozen=True)
class Asked:
    """Questions in a network's tokens, for `choice_probe`. Build it with `of`.

    Args:
        token_ids: prompts, filled up on the right with -1.
        labels: number of the right option.
        options: `[n k s]` tokens of each option, filled up likewise.
    """

    token_ids: Int[Tensor, "n t"]
    labels: Int[Tensor, " n"]
    options: Int[Tensor, "n k s"]

    @classmethod
    def of(cls, network: Network, questions: Sequence[Question]) -> Asked:
        """Turn questions into tokens.

        Args:
            network: a language model with its tokenizer.
            questions: all of as many options.

        Raises:
            LayerwiseError: no questions, or of different numbers of options.
        """
        counts = sorted({len(question.options) for question in questions})
        if len(counts) != 1:
            raise LayerwiseError(f"questions of {counts or 'no'} options; give as many in each")
        prompts = [_tokens(network, question.prompt) for question in questions]
        options = []
        for question, prompt in zip(questions, prompts, strict=True):
            # The end of a prompt and the beginning of an option may melt into one token; what is
            # kept is how the text is read when it stands as a whole.
            wholes = [_tokens(network, question.prompt + option) for option in question.options]
            options += [whole[min(len(prompt), len(whole) - 1) :] for whole in wholes]
        return cls(
            _filled(prompts),
            torch.tensor([question.answer for question in questions]),
            _filled(options).unflatten(0, (len(questions), counts[0])),
        )


def arithmetic(
    count: int, *, shots: int = 4, largest: int = 9, options: int = 4, seed: int = 0
) -> tuple[Question, ...]:
    """Sums of two whole numbers, after some worked examples.

    Args:
        count: number of questions.
        shots: worked examples before each.
        largest: number that is added.
        options: how many are offered, with the right one; at most 10.
        seed: of the draws.

    Example:
        >>> arithmetic(1, shots=0)[0].prompt
        '4 + 9 ='
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        pairs = torch.randint(largest + 1, (shots + 1, 2), generator=generator).tolist()
        worked = [f"{a} + {b} = {a + b}\n" for a, b in pairs[:-1]]
        a, b = pairs[-1]
        near = {a + b + step for step in (-1, 1, 10, -10, 2, -2, 3, -3, 4, 5)} - {a + b}
        near |= {int(str(a + b)[::-1])} - {a + b}
        wrong = sorted(value for value in near if value >= 0)
        drawn = torch.randperm(len(wrong), generator=generator)[: options - 1]
        offered = [f" {wrong[i]}" for i in drawn.tolist()]
        found.append(_mixed("".join(worked) + f"{a} + {b} =", f" {a + b}", offered, generator))
    return tuple(found)


def transitivity(count: int, *, people: int = 3, seed: int = 0) -> tuple[Question, ...]:
    """Who is the tallest in a chain of comparisons that are told in any order.

    Example:
        >>> question = transitivity(1)[0]
        >>> question.options[question.answer] in question.prompt
        True
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        order = torch.randperm(len(_NAMES), generator=generator)[:people].tolist()
        names = [_NAMES[i] for i in order]
        told = [f"{a} is taller than {b}." for a, b in pairwise(names)]
        mixed = [told[i] for i in torch.randperm(len(told), generator=generator).tolist()]
        prompt = " ".join([*mixed, "The tallest of all is"])
        others = [f" {name}" for name in names[1:]]
        found.append(_mixed(prompt, f" {names[0]}", others, generator))
    return tuple(found)


def cloze(
    texts: Sequence[str], count: int, *, options: int = 4, seed: int = 0
) -> tuple[Question, ...]:
    """Words that texts go on with, among words of like length from the same texts.

    Args:
        texts: at least one of a dozen words.
        count: number of questions.
        options: how many are offered, with the right one.
        seed: of the draws.

    Raises:
        LayerwiseError: too few words.

    Example:
        >>> text = "the quick brown foxes jumped over lazy sleeping hounds under yellow trees"
        >>> question = cloze([text], 1)[0]
        >>> question.prompt + question.options[question.answer] in text
        True
    """
    generator = torch.Generator().manual_seed(seed)
    places = [
        (text, match)
        for text in texts
        for match in re.finditer(r"(?<= )[a-z]{4,}\b", text)
        if len(text[: match.start()].split()) >= 3
    ]
    words = sorted({match[0] for _, match in places})
    if len(words) < options + 2:
        raise LayerwiseError(
            f"the texts hold {len(words)} different words of four letters or more after their "
            f"beginnings; cloze questions of {options} options need at least {options + 2}"
        )
    found = []
    for i in torch.randint(len(places), (count,), generator=generator).tolist():
        text, match = places[i]
        order = torch.randperm(len(words), generator=generator).tolist()
        near = sorted((words[j] for j in order), key=lambda w: abs(len(w) - len(match[0])))
        wrong = [f" {word}" for word in near if word != match[0]][: options - 1]
        found.append(_mixed(text[: match.start() - 1], f" {match[0]}", wrong, generator))
    return tuple(found)


def _mixed(prompt: str, right: str, wrong: list[str], generator: torch.Generator) -> Question:
    answer = int(torch.randint(len(wrong) + 1, (), generator=generator))
    return Question(prompt, (*wrong[:answer], right, *wrong[answer:]), answer)


def _tokens(network: Network, text: str) -> Tensor:
    return network.prepare(text)["input_ids"]


def _filled(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=NO_TOKEN)
