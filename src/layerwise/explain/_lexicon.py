"""A lexicon mined from a network's explanations, that screens texts without the network.

Layer integrated gradients at the embeddings say how much every token of a text speaks for a class;
the tokens of a word are added up, and a word's score is the mean over all texts of that class in
which it occurs. Words that occur too rarely are dropped. A text's own score is the sum over its
words, so a person's texts in the order of time give a profile, and a threshold that best told the
texts apart flags those a person should look at.

The paper mines posts about suicidal thoughts. This is a way to sort what people should read first;
it is no diagnosis, and a lexicon should be read before it is used. Stop words and balanced accuracy
as the threshold's criterion are ours; give only texts that the network gets right to mine as the
paper does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs, require_inputs
from layerwise.explain._hide import main
from layerwise.explain._integrated_gradients import integrated_gradients
from layerwise.explain._target import Target
from layerwise.explain._words import words
from layerwise.features import Last
from layerwise.models import Network

_STOP_WORDS = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "had", "has"),
        *("have", "he", "her", "his", "i", "if", "in", "is", "it", "its", "me", "my", "not"),
        *("of", "on", "or", "our", "she", "so", "than", "that", "the", "their", "them", "then"),
        *("there", "they", "this", "to", "was", "we", "were", "what", "when", "which", "who"),
        *("will", "with", "you", "your"),
    }
)


@final
@paper(
    "Conceptualizing Suicidal Behavior: Utilizing Explanations of Predicted Outcomes to Analyze "
    "Longitudinal Social Media Data",
    year=2023,
    arxiv="2312.08299",
    no=(49,),
)
@dataclass(frozen=True)
class Lexicon:
    """Scores texts by their words, without a network. Build it with `fit`.

    Args:
        words: in lower case, the one that speaks most for the class first.
        scores: mean attribution of each.
        counts: in how many texts of the class it occurred.
        threshold: from which score on a text is flagged.

    Example:
        >>> lexicon = Lexicon(("hello",), torch.tensor([2.0]), torch.tensor([3]),
        ...                   torch.tensor(1.0))
        >>> lexicon.score(["Hello there", "Goodbye"]).tolist()
        [2.0, 0.0]
    """

    words: tuple[str, ...]
    scores: Float[Tensor, " w"]
    counts: Int[Tensor, " w"]
    threshold: Float[Tensor, ""]

    @classmethod
    def fit(
        cls,
        language_model: Network,
        token_ids: Inputs,
        labels: Int[Tensor, " n"],
        *,
        positive: int = 1,
        target: Target | None = None,
        layer: str | None = None,
        fewest: int = 2,
        stop_words: Collection[str] = _STOP_WORDS,
        steps: int = 50,
    ) -> Lexicon:
        """Mine the words that make a network choose a class.

        Args:
            language_model: a network of texts, which is left as it was.
            token_ids: a batch of texts, `[n t]` or as the network's `batch` makes it.
            labels: class of each text.
            positive: the class whose words are mined, a column of the target too.
            target: what is explained; the default is the network's output at the last token.
            layer: whose values are integrated; the default is the first of `blocks`, the
                embeddings.
            fewest: texts of the class that a word must occur in.
            stop_words: words that are left out.
            steps: of the integrated gradients.

        Raises:
            LayerwiseError: no text of the class, or only such; no word occurs often enough.
        """
        language_model.take_example(token_ids)
        require_inputs(token_ids)
        theirs = labels == positive
        if not bool(theirs.any()) or bool(theirs.all()):
            raise LayerwiseError(
                f"{int(theirs.sum())} of {len(labels)} texts are of class {positive}; "
                f"give texts of it and others"
            )
        layer = layer or language_model.layers.select("blocks")[0].name
        target = target or Target(pooling=Last())
        aim = torch.full_like(labels, positive)[theirs]
        batch = _rows(token_ids, theirs)
        found = integrated_gradients(
            language_model, batch, aim, layers=layer, target=target, steps=steps
        )
        heat = found.parts[layer].sum(2)
        told: dict[str, list[Tensor]] = defaultdict(list)
        for spelt, row in zip(_spelt(language_model, batch), heat, strict=True):
            of_text: dict[str, Tensor] = {}
            for word, places in spelt:
                of_text[word] = of_text.get(word, row.new_zeros(())) + row[list(places)].sum()
            for word, score in of_text.items():
                told[word].append(score)
        kept = {w: v for w, v in told.items() if len(v) >= fewest and w not in stop_words}
        if not kept:
            raise LayerwiseError(
                f"none of {len(told)} words occurs in {fewest} texts of class {positive}; "
                f"give more texts, or a smaller fewest="
            )
        means = {word: torch.stack(values).mean() for word, values in kept.items()}
        ranked = sorted(kept, key=lambda word: -float(means[word]))
        scores = torch.stack([means[word] for word in ranked])
        counts = torch.tensor([len(kept[word]) for word in ranked])
        texts = [[word for word, _ in spelt] for spelt in _spelt(language_model, token_ids)]
        unset = cls(tuple(ranked), scores, counts, scores.new_zeros(()))
        return cls(tuple(ranked), scores, counts, _threshold(unset._sums(texts), theirs))

    def score(self, texts: Sequence[str]) -> Float[Tensor, " m"]:
        """Sum of the scores of each text's words; words that are not listed count nothing."""
        return self._sums([re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts])

    def flag(self, texts: Sequence[str]) -> Bool[Tensor, " m"]:
        """Which texts a person should look at."""
        return self.score(texts) >= self.threshold

    def _sums(self, texts: Sequence[Sequence[str]]) -> Float[Tensor, " m"]:
        place = {word: i for i, word in enumerate(self.words)}
        sums = self.scores.new_zeros(len(texts))
        for i, text in enumerate(texts):
            known = [place[word] for word in text if word in place]
            sums[i] = self.scores[known].sum()
        return sums


def _rows(inputs: Inputs, rows: Tensor) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: value[rows] for name, value in inputs.items()}
    return inputs[rows]


def _spelt(network: Network, inputs: Inputs) -> list[list[tuple[str, tuple[int, ...]]]]:
    ids = inputs[main(inputs)] if isinstance(inputs, Mapping) else inputs
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    lengths = mask.sum(1).tolist() if mask is not None else [ids.shape[1]] * len(ids)
    return [
        [(word.text.lower(), word.tokens) for word in words(network, row[: int(length)])]
        for row, length in zip(ids, lengths, strict=True)
    ]


def _threshold(sums: Tensor, theirs: Tensor) -> Float[Tensor, ""]:
    """The score from which on texts are flagged, so that both kinds are told apart best."""
    cuts = sums.unique()
    flagged = sums >= cuts.unsqueeze(1)
    hits = flagged[:, theirs].float().mean(1) + (~flagged[:, ~theirs]).float().mean(1)
    return cuts[hits.argmax()]
