"""Linear shortcuts: what a hidden state would become, without running the layers in between (P184).

From the states of many tokens at layer l and at the last layer, least squares finds the matrix A_l
with `A_l h_l ~ h_L`, without an intercept. Reading `A_l h_l` through the final norm and the head
tells far more of what the network will say than the logit lens, which reads `h_l` as it is. What is
cast to is the output of the last block: `hidden_states[-1]` of `transformers` has passed the final
norm in many networks, and would pass it twice. Ours: the penalty, which generalised
cross-validation chooses close to nothing where there are tokens enough; `penalties=(0.0,)` is the
paper's plain least squares. Sums are streamed, so millions of tokens may be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import LinearMap, Moments
from layerwise.models import Network
from layerwise.taps import Lens, logit_lens, read
from layerwise.taps._lens import stream_layers


@final
@paper(
    "Jump to Conclusions: Short-Cutting Transformers With Linear Transformations",
    year=2024,
    arxiv="2303.09435",
    no=(184,),
)
class LinearShortcut(nn.Module):
    """Casts states of any layer as states of the last one. Build it with `fit` or `read`.

    Args:
        layers: addresses, in order; the last of them is what the others are cast to.
        maps: one for each layer but the last.

    Example:
        >>> import torch
        >>> early = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> layers = {"early": early, "late": early.flip(1)}
        >>> shortcut = LinearShortcut.fit(layers)
        >>> bool(torch.allclose(shortcut(layers)["early"], layers["late"], atol=1e-4))
        True
    """

    def __init__(self, layers: Sequence[str], maps: Iterable[LinearMap]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.maps = nn.ModuleList(maps)

    @classmethod
    def fit(
        cls,
        layers: Mapping[str, Float[Tensor, "n _"]],
        *,
        penalties: Sequence[float] | None = None,
        intercept: bool = False,
    ) -> LinearShortcut:
        """Fit from states in memory.

        Args:
            layers: states of the same tokens at each layer, the last layer last.
            penalties: to choose from, as in `LinearMap.fit`.
            intercept: add a bias to each map.

        Raises:
            LayerwiseError: fewer than two layers or tokens, tokens that do not match, NaN.
        """
        names = _require_two(list(layers))
        moments = [Moments() for _ in names[:-1]]
        for name, sums in zip(names, moments, strict=False):
            sums.update(layers[name], layers[names[-1]])
        maps = [LinearMap.of(m, penalties=penalties, intercept=intercept) for m in moments]
        return cls(names, maps)

    @classmethod
    def read(
        cls,
        network: Network,
        batches: Iterable[Tensor | Mapping[str, Tensor]],
        *,
        layers: str | None = None,
        penalties: Sequence[float] | None = None,
        intercept: bool = False,
    ) -> LinearShortcut:
        """Fit from batches, one after another; nothing of them is kept but sums.

        Args:
            network: any network whose blocks hand on one stream.
            batches: as `network.batch` makes them; padding is left out by their attention mask.
            layers: addresses or patterns; without it the embedding and all blocks.
            penalties: to choose from, as in `LinearMap.fit`.
            intercept: add a bias to each map.

        Raises:
            LayerwiseError: no such layer, fewer than two layers or tokens, NaN.
        """
        names: list[str] = []
        moments: list[Moments] = []
        for batch in batches:
            if not names:
                network.take_example(batch)
                last = [layer.name for layer in network.layers if layer.kind == "block"][-1:]
                names = _require_two(stream_layers(network, layers, last=last[0]) if last else [])
                moments = [Moments() for _ in names[:-1]]
            states = {
                name: _rows(network, name, values, batch)
                for name, values in read(network, batch, names).items()
            }
            for name, sums in zip(names, moments, strict=False):
                sums.update(states[name], states[names[-1]])
        _require_two(names)
        maps = [LinearMap.of(m, penalties=penalties, intercept=intercept) for m in moments]
        return cls(names, maps)

    def forward(self, layers: Mapping[str, Float[Tensor, "n _"]]) -> dict[str, Tensor]:
        """Cast the states of each given layer; those of the last one stay as they are.

        Raises:
            LayerwiseError: a layer it was not fitted for.
        """
        return {name: self._cast(name, states) for name, states in layers.items()}

    def lens(self, language_model: Network, token_ids: Int[Tensor, "n t"], *, top: int = 5) -> Lens:
        """What the cast layers predict, beside the network. As `taps.logit_lens`."""
        layers = ",".join(self.layers)
        return logit_lens(language_model, token_ids, layers=layers, cast=self, top=top)

    def _cast(self, name: str, states: Tensor) -> Tensor:
        if name not in self.layers:
            raise unknown("layer with a shortcut", name, self.layers)
        place = self.layers.index(name)
        cast: Tensor = self.maps[place](states) if place < len(self.maps) else states
        return cast


def _require_two(names: list[str]) -> list[str]:
    if len(names) < 2:
        raise LayerwiseError(
            f"a shortcut leads from one layer to another, and {len(names)} were given; give at "
            "least two"
        )
    return names


def _rows(
    network: Network, name: str, values: Tensor, batch: Tensor | Mapping[str, Tensor]
) -> Tensor:
    """One row for each place; without padding."""
    tokens = network.layers[name].sure.tokens(values)
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    padded = mask is not None and mask.shape == tokens.shape[:2]
    return tokens[mask.bool()] if mask is not None and padded else tokens.flatten(0, 1)
