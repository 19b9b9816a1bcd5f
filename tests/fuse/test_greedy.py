"""Greedy combination in planted cases, and against scikit-learn on the combination it makes."""

from __future__ import annotations

import pickle

import jaxtyping
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.fuse import Greedy

Layers = dict[str, Tensor]


def halves(seed: int, n: int = 300) -> tuple[Layers, Tensor]:
    """Two layers of unequal width hold half of the target each; others hold none or a copy."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    first, second = noise(n, 4), noise(n, 4)
    layers = {
        "nothing": noise(n, 100),
        "first": first @ noise(4, 20) + 0.5 * noise(n, 20),
        "again": first @ noise(4, 50) + 0.5 * noise(n, 50),
        "second": second @ noise(4, 70) + 0.5 * noise(n, 70),
    }
    return layers, first[:, :2].sum(1) + 0.6 * second[:, :2].sum(1)


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_two_layers_that_hold_a_half_each(seed: int) -> None:
    layers, targets = halves(seed)
    greedy = Greedy.fit(layers, targets)
    assert greedy.layers in (("first", "second"), ("again", "second"))
    assert greedy.errors[1] < 0.2 * greedy.errors[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_price_of_redundancy_keeps_a_copy_out(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal, other = torch.randn(2, 300, 1, generator=generator)
    noise = 0.8 * torch.randn(2, 300, 1, generator=generator)
    spread = torch.ones(1, 6)
    # The second measurement of the same helps a little by averaging; the other layer helps less.
    layers = {"one": (signal + noise[0]) @ spread, "copy": (signal + noise[1]) @ spread}
    layers["other"] = other @ spread
    targets = signal + 0.15 * other
    free = Greedy.fit(layers, targets, limit=2, redundancy=0.0)
    priced = Greedy.fit(layers, targets, limit=2, redundancy=1.0)
    assert "other" not in free.layers
    assert "other" in priced.layers


def test_stops_when_held_out_rows_gain_nothing() -> None:
    layers, targets = halves(0)
    train, held = slice(0, 200), slice(200, 300)
    validation = {name: x[held] for name, x in layers.items()}, targets[held]
    chosen = {name: x[train] for name, x in layers.items()}
    greedy = Greedy.fit(chosen, targets[train], validation=validation)
    assert len(greedy.layers) == 2
    strange = validation[0], torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert len(Greedy.fit(chosen, targets[train], validation=strange).layers) == 1


def test_errors_are_leave_one_out_errors_of_the_combination() -> None:
    layers, targets = halves(1)
    layers = {name: x.double() for name, x in layers.items()}
    greedy = Greedy.fit(layers, targets.double())
    y = (targets.double() - targets.double().mean()) / targets.double().std(correction=0)
    grid = 300 * torch.logspace(-6, 2, 13, dtype=torch.float64)
    reference = RidgeCV(alphas=grid.tolist(), store_cv_results=True).fit(greedy(layers), y)
    least = reference.cv_results_.mean(0).min()
    assert greedy.errors[-1] == pytest.approx(least, rel=1e-6)


def test_every_layer_has_the_same_variance_whatever_its_width() -> None:
    layers, targets = halves(0)
    greedy = Greedy.fit(layers, targets)
    parts = greedy(layers).split([layers[name].shape[1] for name in greedy.layers], 1)
    for part in parts:
        assert part.var(0, correction=0).sum().item() == pytest.approx(1, rel=1e-4)


def test_pickle_and_state_dict_keep_it() -> None:
    layers, targets = halves(0)
    greedy = Greedy.fit(layers, targets)
    moved = {name: x + 1 for name, x in layers.items()}
    other = Greedy.fit(moved, targets)
    other.load_state_dict(greedy.state_dict())
    for again in (other, pickle.loads(pickle.dumps(greedy))):
        assert torch.equal(again(layers), greedy(layers))


def test_refuses_what_cannot_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    layers, targets = halves(0)
    with pytest.raises(LayerwiseError, match="no layers"):
        Greedy.fit({}, targets)
    with pytest.raises(LayerwiseError, match="do not vary"):
        Greedy.fit(layers, torch.ones(300))
    with pytest.raises(LayerwiseError, match="layer 'nothing' holds 300 rows, not 299"):
        Greedy.fit(layers, targets[1:])
    with pytest.raises(LayerwiseError, match="no layer given is called"):
        Greedy.fit(layers, targets)({"nothing": layers["nothing"]})
    layers["first"][3] = torch.nan
    with pytest.raises(LayerwiseError, match="layer 'first' hold NaN"):
        Greedy.fit(layers, targets)
