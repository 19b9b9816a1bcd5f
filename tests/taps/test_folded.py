"""Batch norm folded into convolutions: the same numbers, and nothing folded that must not be."""

import pytest
import torch
from torch import nn

import layerwise
from layerwise.features import Max, Mean
from layerwise.taps import pooling
from layerwise.taps._folded import folded

POOLINGS = [Mean(), Max()]


class Block(nn.Module):
    """Two convolutions with batch norm; the sum takes the first one's output as well, if asked."""

    def __init__(self, *, reuse: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm2 = nn.BatchNorm2d(8, affine=False)
        self.act = nn.ReLU(inplace=True)
        self.reuse = reuse

    def forward(self, images):
        first = self.conv1(images)
        second = self.norm2(self.conv2(self.act(self.norm1(first))))
        return second + first if self.reuse else second


def opened(*, reuse=False):
    module = Block(reuse=reuse)
    with torch.no_grad():
        for norm in (module.norm1, module.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.1, 4)
        module.norm1.weight.uniform_(-2, 2)
        module.norm1.bias.normal_()
    return layerwise.open(module, example=torch.randn(1, 3, 12, 12))


def calls(run, inputs):
    """How many batch norms were computed."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as watched:
        run(inputs)
    return sum(event.count for event in watched.key_averages() if event.key == "aten::batch_norm")


def test_the_same_numbers_without_a_batch_norm():
    network, inputs = opened(), torch.randn(5, 3, 12, 12)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    layers = ["norm1", "act", "norm2"]
    with pooling(network, layers, POOLINGS) as run:
        shorter = folded(network, run, layers)
        assert (calls(run, inputs), calls(shorter, inputs)) == (2, 0)
        for key, value in run(inputs).items():
            torch.testing.assert_close(shorter(inputs)[key], value, rtol=1e-5, atol=1e-5)
    after = network.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_makes_an_output_that_is_read_stays_as_it_is():
    network, inputs = opened(), torch.randn(5, 3, 12, 12)
    with pooling(network, ["conv1", "norm2"], POOLINGS) as run:
        shorter = folded(network, run, ["conv1", "norm2"])
        assert calls(shorter, inputs) == 1
        assert torch.equal(shorter(inputs)["conv1", "mean"], run(inputs)["conv1", "mean"])


def test_nothing_is_folded_where_a_convolution_feeds_something_else_as_well():
    network = opened(reuse=True)
    with pooling(network, ["."], POOLINGS) as run:
        assert folded(network, run, ["."]) is run


def test_a_batch_norm_that_runs_twice_is_left_alone():
    norm = nn.BatchNorm2d(4)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 4, 1), norm)
    network = layerwise.open(module, example=torch.randn(1, 3, 6, 6))
    with pooling(network, ["3@2"], POOLINGS) as run:
        assert folded(network, run, ["3@2"]) is run


class Named(nn.Module):
    """Calls both functions with their arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

    def forward(self, images):
        maps = nn.functional.conv2d(images, weight=self.conv.weight, bias=self.conv.bias)
        norm = self.norm
        maps = nn.functional.batch_norm(
            input=maps, running_mean=norm.running_mean, running_var=norm.running_var
        )
        return self.second(maps)


def test_calls_by_name_are_left_alone():
    network, inputs = (
        layerwise.open(Named(), example=torch.randn(1, 3, 6, 6)),
        torch.rand(2, 3, 6, 6),
    )
    with pooling(network, ["."], POOLINGS) as run:
        shorter = folded(network, run, ["."])
        assert calls(shorter, inputs) == 1
        for key, value in run(inputs).items():
            torch.testing.assert_close(shorter(inputs)[key], value, rtol=1e-5, atol=1e-5)


def test_a_network_without_batch_norm_is_run_as_it_is():
    network = layerwise.open(nn.Conv2d(3, 4, 1), example=torch.randn(1, 3, 6, 6))
    with pooling(network, ["."], POOLINGS) as run:
        assert folded(network, run, ["."]) is run


@pytest.mark.weights
def test_a_real_network_gives_the_same_features():
    network = layerwise.open("efficientnet-lite0")
    layers = [layer.name for layer in network.layers.select("blocks") if layer.layout]
    inputs = torch.rand(2, 3, 224, 224)
    with torch.inference_mode(), pooling(network, layers, [Mean()]) as run:
        shorter = folded(network, run, layers)
        assert calls(shorter, inputs) == 0
        for key, value in run(inputs).items():
            close = 1e-4 * float(value.abs().max())
            torch.testing.assert_close(shorter(inputs)[key], value, rtol=1e-4, atol=close)
