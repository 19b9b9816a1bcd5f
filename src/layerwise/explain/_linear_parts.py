"""Linear stand-ins for the parts of a block (P184): which of them could be a matrix?

For every attention, MLP or norm that is asked for, least squares finds the linear map from what
flows in to what flows out, over many tokens; with the maps in their place the network runs on, and
how much its predictions change tells how linear the parts were. Attention is most tolerant in the
paper: without it a token no longer sees the others at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import LinearMap, Moments
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest
from layerwise.taps import read, tap
from layerwise.taps._unembed import logits_of

_BATCH = 2048  # tokens in a forward


@final
@paper(
    "Jump to Conclusions: Short-Cutting Transformers With Linear Transformations",
    year=2024,
    arxiv="2303.09435",
    no=(184,),
)
class LinearParts(nn.Module):
    """Linear maps that stand in for parts of a language model. Build it with `fit`.

    Args:
        layers: addresses of the parts.
        maps: one for each.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> given = examples(LinearParts.fit)
        >>> parts = LinearParts.fit(**given, layers="kind:mlp")
        >>> parts(**given).shape
        torch.Size([36, 5, 20])
    """

    def __init__(self, layers: Sequence[str], maps: Iterable[LinearMap]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.maps = nn.ModuleList(maps)

    @classmethod
    def fit(
        cls,
        language_model: Network,
        token_ids: Int[Tensor, "n t"],
        *,
        layers: str | Iterable[str] = "kind:attention",
        penalties: Sequence[float] | None = None,
        intercept: bool = False,
    ) -> LinearParts:
        """Fit a map for each part.

        Args:
            language_model: it stays as it is.
            token_ids: texts of one length.
            layers: addresses or patterns, such as `kind:attention`, `kind:mlp` or `kind:norm`.
            penalties: to choose from, as in `LinearMap.fit`.
            intercept: add a bias to each map.

        Raises:
            LayerwiseError: fewer than two tokens, no such layer, or one that gives another shape
                than it takes.
        """
        chosen = language_model.layers.select(layers)
        entries = {layer.name: language_model.layers.entry(layer).name for layer in chosen}
        moments = {name: Moments() for name in entries}
        for ids in token_ids.split(max(1, _BATCH // max(1, token_ids.shape[1]))):
            if ids.numel() == 0:
                raise LayerwiseError("there are no tokens to fit by; give at least one text")
            inputs = {"input_ids": ids}
            states = read(language_model, inputs, [*entries, *entries.values()])
            for name, entry in entries.items():
                moments[name].update(states[entry].flatten(0, 1), states[name].flatten(0, 1))
        maps = [
            LinearMap.of(sums, penalties=penalties, intercept=intercept)
            for sums in moments.values()
        ]
        return cls(list(entries), maps)

    def forward(
        self, language_model: Network, token_ids: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n t v"]:
        """The network's logits with all parts replaced.

        Raises:
            LayerwiseError: no tokens, or a network that has no such parts or gives no logits.
        """
        if token_ids.numel() == 0:
            raise LayerwiseError("there are no tokens to run on; give at least one text")
        with at_rest(language_model.module), self.standing_in(language_model):
            logits = logits_of(language_model({"input_ids": token_ids}))
        if logits is None:
            raise LayerwiseError(f"{language_model.name} gives no logits; give a language model")
        return logits

    @contextmanager
    def standing_in(
        self, language_model: Network, *, only: Iterable[str] | None = None
    ) -> Iterator[None]:
        """Replace the parts, or only some of them, in every forward inside the `with`.

        Raises:
            LayerwiseError: a part it was not fitted for.
        """
        chosen = self.layers if only is None else tuple(only)
        for name in chosen:
            if name not in self.layers:
                raise unknown("part with a linear map", name, self.layers)
        listed = language_model.layers
        entering = {listed.entry(listed[name]).name: name for name in chosen}
        entered: dict[str, Tensor] = {}

        def receive(layer: Layer, value: Tensor) -> Tensor | None:
            if layer.name in entering:
                entered[entering[layer.name]] = layer.sure.standard(value)
                return None
            mapped = self.maps[self.layers.index(layer.name)](entered.pop(layer.name).flatten(0, 1))
            shape = layer.sure.standard(value).shape
            return layer.sure.original(mapped.view(shape), tuple(value.shape))

        with tap(language_model, [*entering, *chosen], receive):
            yield
