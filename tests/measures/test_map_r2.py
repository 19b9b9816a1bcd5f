"""Linear predictability of layers against leaving samples out one by one."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from layerwise.errors import LayerwiseError
from layerwise.measures import diagonality, map_r2


@pytest.mark.parametrize("shape", [(40, 6), (20, 50)])
def test_equals_leaving_one_out_with_scikit_learn(shape: tuple[int, int]) -> None:
    n, d = shape
    x = 3 + torch.randn(n, d).double()
    y = x[:, :4] @ torch.randn(4, 3).double() + torch.randn(n, 3)
    # The penalty is chosen over all samples, and channels are scaled over all of them, too.
    scaled = StandardScaler().fit_transform(x)
    errors = []
    for penalty in n * torch.logspace(-5, 3, 13).double():
        wrong = torch.zeros(())
        for i in range(n):
            rest = torch.arange(n) != i
            model = Ridge(alpha=float(penalty)).fit(scaled[rest], y[rest])
            wrong = (
                wrong + (torch.from_numpy(model.predict(scaled[i : i + 1])) - y[i]).square().sum()
            )
        mean = sum((y[torch.arange(n) != i].mean(0) - y[i]).square().sum() for i in range(n))
        errors.append(float(1 - wrong / mean))
    found = map_r2(x, y).item()
    assert min(abs(found - error) for error in errors) < 1e-8
    assert found > max(errors) - 0.05


def test_a_layer_tells_what_is_in_it_and_not_what_is_not() -> None:
    layer, noise = torch.randn(200, 8), torch.randn(200, 8)
    r2 = map_r2([layer, noise], [layer[:, :3], noise @ torch.randn(8, 8)])
    assert r2[0, 0] > 0.99
    assert r2[1, 1] > 0.99
    assert r2[0, 1].abs() < 0.1
    assert r2[1, 0].abs() < 0.1


def test_has_a_direction_and_feels_neither_order_nor_turn() -> None:
    source = torch.randn(80, 6).double()
    layers = [source, source[:, :2]]
    r2 = map_r2(layers)
    assert r2[0, 1] > 0.99
    assert r2[1, 0] < 0.6
    order = torch.randperm(80)
    torch.testing.assert_close(map_r2([layer[order] for layer in layers]), r2)


def test_noise_of_more_channels_than_samples_tells_nothing() -> None:
    values = torch.cat([map_r2(torch.randn(30, 300), torch.randn(30, 5)) for _ in range(10)])
    assert values.mean().abs() < 0.15


def test_a_constant_layer_has_no_variance_to_tell() -> None:
    r2 = map_r2([torch.randn(20, 3), torch.full((20, 2), 0.1)])
    assert r2[:, 1].isnan().all()
    assert r2[1, 0] < 0.05


def test_diagonality_is_one_at_equal_depths_and_none_by_chance() -> None:
    assert diagonality(torch.eye(7)) == 1
    steps = torch.eye(5).repeat_interleave(2, 1)
    assert diagonality(steps) > 0.7
    chance = torch.stack([diagonality(torch.rand(6, 9)) for _ in range(300)])
    assert chance.mean().abs() < 0.05
    assert diagonality(torch.eye(7).flip(0)) < 0


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(LayerwiseError, match=r"layers of \[5, 6\] samples"):
        map_r2([torch.randn(5, 2), torch.randn(6, 2)])
    with pytest.raises(LayerwiseError, match="needs at least 3"):
        map_r2(torch.randn(2, 2))
    with pytest.raises(LayerwiseError, match="no layers"):
        map_r2([])
    with pytest.raises(LayerwiseError, match=r"diagonality of \(1, 4\)"):
        diagonality(torch.rand(1, 4))
