"""The words of a text that was cut into tokens, and which tokens make up each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from layerwise.models import Network, TextPreparation

_BEGINS = ("Ġ", "▁", "Ċ")
"""What byte-level and sentence-piece tokenizers put before a token that begins a word."""


@final
@dataclass(frozen=True)
class Word:
    """A word of a text.

    Args:
        text: as it is written.
        tokens: places of its tokens.
    """

    text: str
    tokens: tuple[int, ...]


def words(network: Network, token_ids: Int[Tensor, " t"]) -> tuple[Word, ...]:
    """Join the tokens of one text to words; marks of beginning, end and padding are left out.

    Where the network has no tokenizer, every token is a word, written as its number.

    Args:
        network: whose tokens they are.
        token_ids: of one text.
    """
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        return tuple(Word(str(int(number)), (place,)) for place, number in enumerate(token_ids))
    tokenizer = prepare.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(token_ids.tolist())
    marks = set(tokenizer.all_special_tokens)
    by_beginning = any(str(piece).startswith(_BEGINS) for piece in pieces)
    groups: list[list[int]] = []
    for place, piece in enumerate(pieces):
        if piece in marks:
            continue
        follows = not piece.startswith(_BEGINS) if by_beginning else piece.startswith("##")
        joined = follows and groups and groups[-1][-1] == place - 1
        if joined and _letters(piece) == _letters(pieces[place - 1]):
            groups[-1].append(place)
        else:
            groups.append([place])
    return tuple(Word(tokenizer.decode(token_ids[group]).strip(), tuple(group)) for group in groups)


def real(network: Network, token_ids: Int[Tensor, "n t"]) -> Bool[Tensor, "n t"]:
    """Where tokens are part of a text, and not marks of its beginning, end or padding.

    Args:
        network: whose tokens they are.
        token_ids: of some texts.
    """
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        return torch.ones_like(token_ids, dtype=torch.bool)
    marks = torch.tensor(prepare.tokenizer.all_special_ids, device=token_ids.device)
    return ~torch.isin(token_ids, marks)


def _letters(piece: str) -> bool:
    """Whether a token is made of letters: punctuation is a word of its own."""
    return piece.lstrip("".join(_BEGINS) + "#").isalnum()
