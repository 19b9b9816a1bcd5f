"""Every fusion keeps the laws, in both precisions, and the laws catch fusions that do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from layerwise.fuse import FirstLast, Greedy, WeightedSum
from layerwise.fuse.laws import check

Layers = dict[str, Tensor]


def _layers(widths: tuple[int, ...], dtype: torch.dtype) -> tuple[Layers, Tensor]:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(60, width, generator=generator, dtype=dtype) for width in widths]
    targets = torch.stack([x[:, 0] for x in layers]).sum(0)
    return {f"layer {i}": x for i, x in enumerate(layers)}, targets


def _greedy(layers: Layers, targets: Tensor) -> nn.Module:
    return Greedy.fit(layers, targets, redundancy=0.0, gain=0.0)


FUSIONS = [
    pytest.param(lambda layers, _: FirstLast.fit(layers), (5, 5), id="FirstLast"),
    pytest.param(_greedy, (5, 3), id="Greedy"),
    pytest.param(WeightedSum.fit, (5, 3, 4), id="WeightedSum"),
    pytest.param(WeightedSum.fit, (5, 5, 5), id="WeightedSum of equal widths"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("fit", "widths"), FUSIONS)
def test_fusions_keep_the_laws(
    fit: Callable[[Layers, Tensor], nn.Module], widths: tuple[int, ...], dtype: torch.dtype
) -> None:
    layers, targets = _layers(widths, dtype)
    state = torch.get_rng_state()
    fusion = fit(layers, targets)
    assert torch.equal(torch.get_rng_state(), state)
    assert fusion(layers).dtype == dtype
    check(fusion, layers)


class Forgetful(nn.Module):
    def forward(self, layers: Layers) -> Tensor:
        return layers["layer 0"] + 0 * layers["layer 1"]


class Mixing(nn.Module):
    def forward(self, layers: Layers) -> Tensor:
        joined = torch.cat(list(layers.values()), 1)
        return joined - joined.mean(0)


class Undemanding(nn.Module):
    def forward(self, layers: Layers) -> Tensor:
        return sum(layers.values(), torch.zeros(()))


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (Forgetful(), "layer 1' does not reach"),
        (Mixing(), "samples feel each other"),
        (Undemanding(), "missing layer"),
    ],
)
def test_the_laws_catch_what_is_broken(fusion: nn.Module, message: str) -> None:
    with pytest.raises((AssertionError, KeyError), match=message):
        check(fusion, _layers((5, 5), torch.float32)[0])
