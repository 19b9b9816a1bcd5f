"""The weighted sum in planted cases, against a plain ridge, and at its limits."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Ridge
from layerwise.fuse import WeightedSum

Layers = dict[str, Tensor]


def planted(seed: int, widths: tuple[int, ...]) -> tuple[Layers, Tensor]:
    """The first two layers hold a half of the target each, the others nothing."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randn(400, width, generator=generator) for width in widths]
    targets = layers[0][:, :2].sum(1) + layers[1][:, :2].sum(1)
    return {f"layer {i}": x for i, x in enumerate(layers)}, targets


def _split(layers: Layers, targets: Tensor) -> tuple[tuple[Layers, Tensor], ...]:
    spans = slice(0, 240), slice(240, 320), slice(320, 400)
    return tuple(({name: x[s] for name, x in layers.items()}, targets[s]) for s in spans)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("widths", [(8, 24, 16, 40, 12), (16, 16, 16, 16, 16)])
def test_finds_the_layers_that_hold_the_target(seed: int, widths: tuple[int, ...]) -> None:
    train, held, test = _split(*planted(seed, widths))
    generator = torch.Generator().manual_seed(seed)
    weighted = WeightedSum.fit(*train, validation=held, generator=generator)
    assert weighted.weights[:2].sum() > 0.7
    if len(set(widths)) > 1:
        left = (weighted.predict(test[0])[:, 0] - test[1]).square().mean() / test[1].var()
        alone = [_alone(train, test, name) for name in train[0]]
        assert left < 0.5 * min(alone)


def _alone(train: tuple[Layers, Tensor], test: tuple[Layers, Tensor], name: str) -> float:
    ridge = Ridge.fit(train[0][name], train[1])
    predicted = ridge(test[0][name])[ridge.best(), :, 0]
    return ((predicted - test[1]).square().mean() / test[1].var()).item()


def test_classes_are_learned_with_a_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    signal = torch.eye(3)[labels] + 0.3 * torch.randn(300, 3, generator=generator)
    layers = {"noise": torch.randn(300, 20, generator=generator), "signal": signal}
    onehot = torch.eye(3)[labels]
    weighted = WeightedSum.fit(layers, onehot, loss=nn.functional.cross_entropy)
    assert weighted.weights[1] > 0.6
    assert (weighted.predict(layers).argmax(1) == labels).double().mean() > 0.9


def test_one_layer_alone_is_a_linear_readout() -> None:
    layers = planted(0, (16, 16))[0]
    only = {"layer 0": layers["layer 0"]}
    weighted = WeightedSum.fit(only, layers["layer 0"][:, 0], decay=1e-9)
    assert weighted.weights.tolist() == [1.0]
    torch.testing.assert_close(
        weighted.predict(only)[:, 0], layers["layer 0"][:, 0], rtol=0, atol=0.02
    )


def test_equal_generators_give_equal_weights() -> None:
    layers, targets = planted(0, (8, 24, 16))
    fits = [
        WeightedSum.fit(layers, targets, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    assert torch.equal(fits[0](layers), fits[1](layers))


def test_learns_where_gradients_are_switched_off() -> None:
    layers, targets = planted(0, (8, 24, 16))
    with torch.no_grad():
        weighted = WeightedSum.fit(layers, targets)
    assert weighted.mixing.abs().max() > 0
    assert not any(p.requires_grad for p in weighted.parameters())


def test_pickle_and_state_dict_keep_it() -> None:
    layers, targets = planted(0, (8, 24, 16))
    weighted = WeightedSum.fit(layers, targets)
    other = WeightedSum.fit({n: x + 1 for n, x in layers.items()}, -targets)
    other.load_state_dict(weighted.state_dict())
    for again in (other, pickle.loads(pickle.dumps(weighted))):
        assert torch.equal(again.predict(layers), weighted.predict(layers))


def test_refuses_what_cannot_be_added_up() -> None:
    layers, targets = planted(0, (8, 24))
    with pytest.raises(LayerwiseError, match="too few"):
        WeightedSum.fit({n: x[:4] for n, x in layers.items()}, targets[:4])
    with pytest.raises(LayerwiseError, match="no layers"):
        WeightedSum.fit({}, targets)
    weighted = WeightedSum.fit(layers, targets)
    with pytest.raises(LayerwiseError, match="no layer given is called 'layer 1'"):
        weighted({"layer 0": layers["layer 0"]})
    targets[2] = torch.nan
    with pytest.raises(LayerwiseError, match="targets hold NaN"):
        WeightedSum.fit(layers, targets)
