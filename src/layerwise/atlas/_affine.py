"""Several layers as one row of features: fusions of layers as plain maps of them side by side.

All of them are affine, so what was fitted with much apparatus is shipped as two tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError, unknown
from layerwise.features._standardise import Standardise
from layerwise.fuse import FirstLast, Greedy, WeightedSum

_KINDS = FirstLast | Greedy | WeightedSum
Fusion = type[FirstLast] | type[Greedy] | type[WeightedSum]


def combined(
    kind: Fusion, layers: Mapping[str, Float[Tensor, "n _"]], targets: Float[Tensor, "n k"]
) -> tuple[tuple[str, ...], nn.Module]:
    """Fit a fusion, and give the layers that it takes and what is done to them side by side.

    Args:
        kind: `Greedy`, `WeightedSum` or `FirstLast`.
        layers: training rows of each layer, in the order of execution.
        targets: one column per number to be read; for classes one column each, 1 or 0.

    Example:
        >>> layers = {"a": torch.randn(40, 3), "b": torch.randn(40, 3)}
        >>> names, both = combined(FirstLast, layers, torch.zeros(40, 1))
        >>> side_by_side = torch.cat([layers[name] for name in names], 1)
        >>> torch.allclose(both(side_by_side), FirstLast.fit(layers)(layers), atol=1e-5)
        True
    """
    if kind is Greedy:
        greedy = Greedy.fit(layers, targets)
        blocks = [block for block in greedy.blocks if isinstance(block, Standardise)]
        means = torch.cat([block.mean for block in blocks]).float()
        scales = torch.cat([block.scale for block in blocks]).float()
        return greedy.layers, Standardise(means, scales)
    if kind is FirstLast:
        fitted = FirstLast.fit(layers)
        half = fitted.whiten.weight.double() / 2
        weight, offset = torch.cat([half, half]), -fitted.whiten.mean.double() @ (2 * half)
        return fitted.layers, _linear(weight, offset)
    weighted = WeightedSum.fit(layers, targets)
    return weighted.aligned.layers, _linear(*_sum(weighted))


def fusion_named(name: str) -> Fusion:
    """The fusion that is called so, in words joined by hyphens.

    Raises:
        LayerwiseError: there is none.

    Example:
        >>> fusion_named("first-last").__name__
        'FirstLast'
    """
    known = {re.sub(r"(?<=[a-z])(?=[A-Z])", "-", k.__name__).lower(): k for k in get_args(_KINDS)}
    if name not in known:
        raise unknown("fusion", name, known)
    return known[name]


def restored(state: Mapping[str, Tensor]) -> nn.Module:
    """The map with these tensors."""
    if not state:
        return nn.Identity()
    if "scale" in state:
        return Standardise(state["mean"], state["scale"])
    weight = state["weight"]
    return nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0]).requires_grad_(False)


def require_several(layers: Sequence[str]) -> None:
    """Refuse to combine less than two layers.

    Raises:
        LayerwiseError: there are fewer.
    """
    if len(layers) < 2:
        raise LayerwiseError(
            f"{len(layers)} layer cannot be combined; give two or more with --layers"
        )


def _sum(fitted: WeightedSum) -> tuple[Tensor, Tensor]:
    weights = fitted.mixing.double().softmax(0) * len(fitted.mixing) ** 0.5
    rotations: Sequence[Tensor] = [r.double() for r in fitted.aligned.rotations]
    parts, offset = [], torch.zeros((), dtype=torch.float64)
    blocks = [block for block in fitted.aligned.blocks if isinstance(block, Standardise)]
    for i, block in enumerate(blocks):
        turn = rotations[i] if rotations else torch.eye(len(block.mean), dtype=torch.float64)
        parts.append(weights[i] * turn / block.scale[:, None])
        offset = offset - block.mean @ parts[-1]
    return torch.cat(parts), offset


def _linear(weight: Float[Tensor, "d k"], bias: Float[Tensor, " k"]) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, *weight.shape)
    layer.weight.data.copy_(weight.T)
    layer.bias.data.copy_(bias)
    return layer.requires_grad_(False)
