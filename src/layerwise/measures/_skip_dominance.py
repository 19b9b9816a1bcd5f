"""Do features pass a block by its skip or through its branch?

At every addition `z + f(z)` the ratio of the lengths of the two, over the places of a picture or
text and over its prefix tokens apart: in vision transformers the class token first travels by the
skips and the places through the branches, and later the other way round. What a skip is worth also
shows when it is deleted: how alike is the last layer to what it was? Ours: ratios are averaged in
logarithms, because a branch that says next to nothing would decide the mean alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._branches import branches
from layerwise.measures._cka import cka
from layerwise.models import Layer, Network
from layerwise.taps import edit, read, tap


@final
@dataclass(frozen=True)
class SkipDominance:
    """Skip over branch, for every branch of every block that has a skip.

    Args:
        layers: address of the block.
        parts: what the branch holds: `attention`, `mlp`, `both`, `other`, or `whole` for all that
            the block adds.
        places: ratio of lengths over the places of the input.
        prefix: the same over class token and registers; that of the places where there are none.
    """

    layers: tuple[str, ...]
    parts: tuple[str, ...]
    places: Float[Tensor, " b"]
    prefix: Float[Tensor, " b"]


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def skip_dominance(
    network: Network, inputs: Tensor | Mapping[str, Tensor], *, blocks: str = "kind:block"
) -> SkipDominance:
    """Measure every skip in one forward.

    Args:
        network: any network; one without skips has no rows.
        inputs: a batch.
        blocks: addresses or patterns.

    Raises:
        LayerwiseError: no samples, or no such layer.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> skip_dominance(**examples(skip_dominance)).layers  # that network has no skips
        ()
    """
    _require_samples(inputs)
    found = branches(network, inputs, blocks=blocks)
    logs = [-branch.ratio.clamp(min=1e-30).log() for branch in found]
    cuts = [branch.block.sure.prefix for branch in found]
    places = [log[:, cut:].mean() for log, cut in zip(logs, cuts, strict=True)]
    prefix = [log[:, : cut or None].mean() for log, cut in zip(logs, cuts, strict=True)]
    ratios = torch.stack([*places, *prefix]).exp() if found else _none(inputs)
    return SkipDominance(
        tuple(branch.block.name for branch in found),
        tuple(branch.part for branch in found),
        ratios[: len(found)],
        ratios[len(found) :],
    )


def skip_deletion(
    network: Network,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    blocks: str = "kind:block",
    at: str | None = None,
) -> tuple[tuple[str, ...], Float[Tensor, " b"]]:
    """Delete the skip of one block after the other, and compare what comes out in the end.

    Args:
        network: any network.
        inputs: a batch of at least 4 samples.
        blocks: addresses or patterns; blocks without a skip are passed over.
        at: layer that is compared; the last block by default.

    Returns:
        Addresses of the blocks, and CKA of the mean over places with and without each skip.

    Raises:
        LayerwiseError: too few samples, or no such layer.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> skip_deletion(**examples(skip_deletion))[0]  # that network has no skips
        ()
    """
    _require_samples(inputs)
    names = list(dict.fromkeys(b.block.name for b in branches(network, inputs, blocks=blocks)))
    end = network.layers[at or network.layers.select("kind:block")[-1].name]
    before = _pooled(network, inputs, end)
    found = []
    for name in names:
        entry = network.layers.entry(network.layers[name]).name
        entered: dict[str, Tensor] = {}

        def keep(layer: Layer, value: Tensor, entered: dict[str, Tensor] = entered) -> None:
            entered["skip"] = layer.sure.standard(value)

        def without(value: Tensor, entered: dict[str, Tensor] = entered) -> Tensor:
            return value - entered["skip"]

        with tap(network, entry, keep), edit(network, {name: without}):
            found.append(cka(before, _pooled(network, inputs, end))[0, 0])
    return tuple(names), torch.stack(found) if found else before.new_zeros(0)


def _pooled(network: Network, inputs: Tensor | Mapping[str, Tensor], layer: Layer) -> Tensor:
    tokens = layer.sure.tokens(read(network, inputs, layer.name)[layer.name])
    return tokens[:, layer.sure.prefix :].mean(1)


def _none(inputs: Tensor | Mapping[str, Tensor]) -> Float[Tensor, " 0"]:
    """No numbers, of the type that some would have."""
    return inputs.new_zeros(0) if isinstance(inputs, Tensor) else torch.zeros(0)


def _require_samples(inputs: Tensor | Mapping[str, Tensor]) -> None:
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    if len(first) == 0:
        raise LayerwiseError("there are no samples to look at; give at least one")
