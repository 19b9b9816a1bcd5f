"""The control: same architecture, other weights, finite everywhere, and nothing else touched."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models import open as open_network
from layerwise.models import randomised, starters


class Mixed(nn.Module):
    """One of each: drawn weights, a scale, positions, batch norm, dropout, tied weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.positions = nn.Parameter(torch.arange(6 * 6.0).view(1, 1, 6, 6))
        self.scale = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)
        self.tied = nn.Linear(8, 4)
        self.tied.weight = self.head.weight
        nn.init.normal_(self.scale.weight)
        self.register_buffer("fixed", torch.arange(3.0))

    def forward(self, images):
        hidden = self.drop(self.scale(self.norm(self.stem(images)) + self.positions)).mean((2, 3))
        return self.head(hidden) + self.tied(hidden)


def network():
    return open_network(Mixed().eval(), example=torch.randn(1, 3, 8, 8))


def test_nothing_but_the_copy_changes():
    given = network()
    given.module.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in given.module.state_dict().items()}
    state = torch.get_rng_state()
    control = randomised(given, inputs=torch.randn(8, 3, 8, 8, generator=torch.Generator()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[n]) for n, v in given.module.state_dict().items())
    assert not any(m.training for m in (*given.module.modules(), *control.module.modules()))
    assert control.module.norm.momentum == 0.1
    assert control.module.tied.weight is control.module.head.weight
    assert not control.module.head.weight.requires_grad
    assert torch.equal(control.module.fixed, given.module.fixed)
    assert control.name == "Mixed-random"
    assert control.prepare is given.prepare


def test_every_weight_is_another():
    given, inputs = network(), torch.randn(8, 3, 8, 8)
    control = randomised(given, inputs=inputs)
    for name in ("stem.weight", "stem.bias", "head.weight", "positions", "scale.weight"):
        old, new = given.module.get_parameter(name), control.module.get_parameter(name)
        assert not torch.equal(old, new), name
    for name in ("positions", "scale.weight"):
        old, new = given.module.get_parameter(name), control.module.get_parameter(name)
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values), name


def test_the_seed_decides():
    given, inputs = network(), torch.randn(8, 3, 8, 8)
    first, again = (randomised(given, seed=3, inputs=inputs) for _ in range(2))
    other = randomised(given, seed=4, inputs=inputs)
    assert first.weights_hash == again.weights_hash
    assert first.weights_hash != other.weights_hash
    assert "seed=3" in first.source


def test_batch_norm_knows_the_statistics_of_the_batch():
    given, inputs = network(), torch.randn(16, 3, 8, 8) * 5 + 2
    control = randomised(given, inputs=inputs)
    with torch.no_grad():
        activations = control.module.stem(inputs)
    norm = control.module.norm
    torch.testing.assert_close(norm.running_mean, activations.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, activations.var((0, 2, 3)))


def test_a_deep_network_neither_vanishes_nor_explodes():
    layers = [nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()) for _ in range(60)]
    module = nn.Sequential(*layers)
    inputs = torch.randn(64, 32)
    control = randomised(open_network(module, example=inputs[:1]), inputs=inputs)
    with torch.no_grad():
        assert 0.1 < float(control.module.eval()(inputs).std()) < 10


def test_a_batch_too_small_to_measure_gives_one_line():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    given = open_network(module, example=torch.ones(1, 3))
    with pytest.raises(LayerwiseError, match=r"cannot measure this batch.*more samples"):
        randomised(given)
    assert module.training
    assert module[1].momentum == 0.1


def test_a_network_that_overflows_is_refused():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    given = open_network(module, example=torch.ones(1, 3))
    with pytest.raises(LayerwiseError, match="not finite"):
        randomised(given, inputs=torch.full((4, 3), float("inf")))


@pytest.mark.parametrize(
    "architecture", ["resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_networks_of_timm_stay_finite(architecture):
    stays_finite(open_network(f"random:timm:{architecture}"))


@pytest.mark.weights
@pytest.mark.parametrize("name", [starter.name for starter in starters()])
def test_starters_stay_finite_and_lose_what_they_learnt(name):
    stays_finite(open_network(name))


def stays_finite(given):
    from skimage import data

    photographs = [Image.fromarray(getattr(data, n)()) for n in ("chelsea", "coffee", "rocket")]
    texts = ["A cat sleeps.", "The rain in Spain stays mainly in the plain.", "To be or not to be?"]
    samples = photographs if given.modality == "image" else texts
    inputs = given.batch([given.prepare(sample) for sample in samples])
    control = randomised(given, inputs=inputs)
    spread = []

    def watch(_, __, output):
        found = output if isinstance(output, torch.Tensor) else next(iter(output.values()))
        spread.append(float(found.float().std()))

    # Every stage and block, by the depth of their names.
    blocks = [m for n, m in control.module.named_modules() if n and n[-1].isdigit()]
    hooks = [m.register_forward_hook(watch) for m in [*blocks, control.module]]
    with torch.no_grad():
        one, two = given(inputs), control(inputs)
    for hook in hooks:
        hook.remove()
    assert len(spread) > 6
    assert all(1e-4 < value < 1e4 for value in spread)
    one, two = (o if isinstance(o, torch.Tensor) else next(iter(o.values())) for o in (one, two))
    assert one.shape == two.shape
    assert not torch.allclose(one, two, atol=1e-3)
