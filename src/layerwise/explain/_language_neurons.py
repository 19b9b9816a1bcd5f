"""Neurons that fire for one language: the entropy of how often each fires where (P104, P180).

For each language, natural or of programming, p is the share of its tokens at which a neuron is
active, above zero. Brought to a sum of 1 over the languages, q = p / sum p, its entropy

    LAPE = - sum q log q

is low where the neuron fires for few of them. Neurons that fire often for none are left out: some p
has to be above the 95th percentile of all p. Of the rest those of lowest entropy are chosen, 1 % of
all, and belong to every language for which p is above that percentile; P180 calls those of one
language alone exclusive to it. Only counts are kept. That the neurons carry a language is proved by
turning them off: `edit` with what `off` gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest
from layerwise.taps import Clamp, tap

_TEXTS = 8  # in a forward


@final
@dataclass(frozen=True)
class LanguageNeurons:
    """How often neurons fire for each of `c` languages, in `l` layers of `m`.

    Args:
        layers: addresses of the layers.
        rates: share of a language's tokens at which a neuron is active.
        entropy: of the rates over the languages, in nats.
        chosen: neurons that belong to a language.
    """

    layers: tuple[str, ...]
    rates: Float[Tensor, "c l m"]
    entropy: Float[Tensor, "l m"]
    chosen: Bool[Tensor, "c l m"]

    @property
    def exclusive(self) -> Bool[Tensor, "c l m"]:
        """Neurons that belong to one language alone."""
        return self.chosen & (self.chosen.sum(dim=0) == 1)

    def off(self, label: int) -> dict[str, Clamp]:
        """What `edit` takes to turn a language's neurons off.

        Args:
            label: the language.
        """
        return switched_off(self.layers, self.chosen[label])


def switched_off(layers: tuple[str, ...], chosen: Bool[Tensor, "l m"]) -> dict[str, Clamp]:
    """What `edit` takes to hold some neurons at zero."""
    units = (row.nonzero().flatten().tolist() for row in chosen)
    return {
        name: Clamp(0.0, 0.0, tuple(some)) for name, some in zip(layers, units, strict=True) if some
    }


@paper(
    "Language-Specific Neurons: The Key to Multilingual Capabilities in Large Language Models",
    year=2024,
    arxiv="2402.16438",
    no=(104, 180),
)
def language_neurons(
    language_model: Network,
    token_ids: Int[Tensor, "n t"],
    labels: Int[Tensor, " n"],
    *,
    layers: str = "kind:activation",
    share: float = 0.01,
    often: float = 0.95,
) -> LanguageNeurons:
    """Find the neurons of each language.

    Args:
        language_model: the network, which is left as it was.
        token_ids: texts of one length, without padding.
        labels: language of each text, counted from 0.
        layers: where neurons fire, as behind the gates of MLPs: a pattern.
        share: part of all neurons that is chosen, as far as so many fire often.
        often: percentile of all rates that counts as often.

    Raises:
        LayerwiseError: fewer than 2 languages or one without texts, no such layer, layers of
            different widths, or an option out of range.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = language_neurons(**examples(language_neurons), share=0.1)
        >>> found.rates.shape, int(found.chosen.any(dim=0).sum())
        (torch.Size([3, 3, 12]), 4)
    """
    classes = _languages(token_ids, labels)
    if not (0 < share <= 1 and 0 <= often < 1):
        raise LayerwiseError(f"share={share} and often={often}; both are parts of 1")
    where = language_model.layers.select(layers)
    counts = _counts(language_model, token_ids, labels, where, classes)
    texts = labels.bincount(minlength=classes).to(counts)
    rates = counts / (texts * token_ids.shape[1])[:, None, None]
    total = rates.sum(dim=0)
    shares = rates / total.clamp(min=torch.finfo(rates.dtype).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum(dim=0)
    bar = rates.flatten().sort().values[int(often * (rates.numel() - 1))]
    frequent = (rates > bar).any(dim=0)
    kept = min(max(1, round(share * frequent.numel())), int(frequent.sum()))
    lowest = entropy.masked_fill(~frequent, torch.inf).flatten().argsort(stable=True)[:kept]
    picked = torch.zeros_like(frequent).flatten().scatter(0, lowest, value=True)
    chosen = picked.view_as(frequent) & (rates > bar)
    return LanguageNeurons(tuple(layer.name for layer in where), rates, entropy, chosen)


def _languages(token_ids: Tensor, labels: Tensor) -> int:
    """How many languages there are."""
    if len(token_ids) != len(labels):
        raise LayerwiseError(f"{len(token_ids)} texts but {len(labels)} labels; give one for each")
    counts = labels.clamp(min=0).bincount() if len(labels) else labels
    if len(counts) < 2 or bool((counts == 0).any()) or bool((labels < 0).any()):
        raise LayerwiseError(
            f"texts for each language: {counts.tolist()}; give texts of at least 2 languages, "
            f"labelled from 0 without gaps"
        )
    return len(counts)


def _counts(
    network: Network, token_ids: Tensor, labels: Tensor, layers: tuple[Layer, ...], classes: int
) -> Float[Tensor, "c l m"]:
    """At how many tokens of each language each neuron is active."""
    if len({layer.width for layer in layers}) > 1:
        widths = ", ".join(f"{layer.name} {layer.width}" for layer in layers)
        raise LayerwiseError(f"the layers have different numbers of neurons: {widths}; take fewer")
    example = next(p for p in network.module.parameters() if p.is_floating_point())
    counts = example.new_zeros(classes, len(layers), layers[0].width)
    rows = {layer.name: row for row, layer in enumerate(layers)}
    for texts, languages in zip(token_ids.split(_TEXTS), labels.split(_TEXTS), strict=True):

        def receive(layer: Layer, value: Tensor, languages: Tensor = languages) -> None:
            fires = (layer.sure.tokens(layer.sure.standard(value)) > 0).sum(dim=1)
            counts[:, rows[layer.name]].index_add_(0, languages.to(fires.device), fires.to(counts))

        with at_rest(network.module), tap(network, list(rows), receive):
            network({"input_ids": texts.to(network.device)})
    return counts
