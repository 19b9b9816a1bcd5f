"""From one text to token numbers, and from several to a padded batch.

A text longer than the network can take is cut at the end, and the prepared sample says so; the
batch counts it. Batches are padded on the right and carry an attention mask, for decoders too.

A network of encoder and decoder reads the text in both: the decoder gets the same tokens shifted
by one behind its start token, as BART's authors do for classification. So each of its places has
seen the whole text through the encoder and its own beginning, and one mask serves both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class TextPreparation:
    """Turns a text into token numbers: `input_ids [t]`, and whether the text was `truncated`.

    Args:
        tokenizer: of `transformers`.
        vocabulary: SHA-256 of all that the tokenizer does; stands for it in the `repr`.
        length: most tokens that are kept, marks of beginning and end included.
        pad: token number that fills a batch up.
    """

    tokenizer: Any = field(repr=False, compare=False)
    vocabulary: str
    length: int
    pad: int

    @classmethod
    def of(cls, tokenizer: Any, *, length: int) -> TextPreparation:
        """Use a fast tokenizer of `transformers`.

        Args:
            tokenizer: as `AutoTokenizer` gives it.
            length: most tokens that are kept.

        Raises:
            LayerwiseError: it is a slow tokenizer.
        """
        if not tokenizer.is_fast:
            raise LayerwiseError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; give a prepare= of your own"
            )
        rules = tokenizer.backend_tokenizer.to_str().encode()
        ends = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        pad = next(number for number in ends if number is not None)
        return cls(tokenizer, hashlib.sha256(rules).hexdigest(), length, pad)

    def __call__(self, text: str) -> dict[str, Any]:
        """Prepare one text.

        Raises:
            LayerwiseError: the text holds not one token.
        """
        encoded, truncated = self._encoded(text)
        if not encoded["input_ids"]:
            raise LayerwiseError("the text is empty: it holds not one token")
        ids = torch.tensor(encoded["input_ids"], dtype=torch.int64)
        return {"input_ids": ids, "truncated": truncated}

    def _encoded(self, text: str) -> tuple[Any, bool]:
        """Look only as far into a long text as its first tokens reach: megabytes cost nothing."""
        reach = _CHARACTERS * self.length
        while True:
            whole = len(text) <= reach
            piece = text if whole else "".join(text[:reach].rsplit(None, 1)[:1])
            encoded = self.tokenizer(
                piece, truncation=True, max_length=self.length, return_attention_mask=False
            )
            truncated = bool(encoded.encodings[0].overflowing)
            if whole or truncated:
                return encoded, truncated
            reach *= 8


_CHARACTERS = 16
"""Characters per token that nearly every text stays below."""


@final
class TextCollate:
    """Joins prepared texts into a batch, padded on the right.

    Args:
        pad: token number of the places that hold no token.
        decoder_start: token number that the decoder begins with, for networks that have one
            beside an encoder; None for all others.
        fill: fewest places of a batch, for networks that were trained with that many.

    Attributes:
        truncated: how many of all texts that came by had been cut.

    Example:
        >>> collate = TextCollate(pad=0)
        >>> texts = [torch.tensor([5, 6, 7]), torch.tensor([8])]
        >>> batch = collate([{"input_ids": text, "truncated": False} for text in texts])
        >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
        ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    """

    def __init__(self, *, pad: int, decoder_start: int | None = None, fill: int = 0) -> None:
        self.pad = pad
        self.decoder_start = decoder_start
        self.fill = fill
        self.truncated = 0

    def __call__(self, prepared: Sequence[Mapping[str, Any]]) -> dict[str, Int[Tensor, "n t"]]:
        """Join the texts of one batch."""
        self.truncated += sum(sample["truncated"] for sample in prepared)
        texts = [sample["input_ids"] for sample in prepared]
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=self.pad)
        ids = torch.nn.functional.pad(ids, (0, max(0, self.fill - ids.shape[1])), value=self.pad)
        lengths = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        if self.decoder_start is None:
            return {"input_ids": ids, "attention_mask": mask}
        start = torch.full((len(texts), 1), self.decoder_start)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": torch.cat([start, ids[:, :-1]], 1),
            "decoder_attention_mask": mask,
        }
