"""Reading gives the values of the bare forward, through every known trap, and leaves no trace."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.features import GeM, Max, Mean
from layerwise.models._hooks import at_rest
from layerwise.taps import pool, read, tap
from networks import Branching, Fails, InPlace, Nested, Shared, TimeFirst, Unhelpful


def opened(module: nn.Module, *shape: int, trained: bool = False) -> layerwise.Network:
    return layerwise.open(module if trained else module.eval(), example=torch.randn(1, *shape))


def seen_by_cloning_hooks(module: nn.Module, inputs: Tensor) -> dict[str, list[Tensor]]:
    """Every tensor a module gave, copied the moment it was given: the reference for all of this."""
    given: dict[str, list[Tensor]] = {}

    def note(name: str):
        def hook(_, __, output):
            if isinstance(output, Tensor):
                given.setdefault(name, []).append(output.clone())

        return hook

    hooks = [m.register_forward_hook(note(name)) for name, m in module.named_modules() if name]
    with torch.no_grad():
        module(inputs)
    for hook in hooks:
        hook.remove()
    return given


def test_every_layer_of_a_real_architecture_is_read_bit_for_bit():
    network = opened(timm.create_model("resnet18", pretrained=False), 3, 64, 64)
    inputs = torch.randn(3, 3, 64, 64)
    given = seen_by_cloning_hooks(network.module, inputs)
    features = read(network, inputs, "all")
    assert len(features) > 60
    for name, values in features.items():
        if name != ".":
            module, _, call = name.partition("@")
            assert torch.equal(values, given[module][int(call or 1) - 1]), name


def test_what_is_changed_in_place_later_is_read_as_it_was():
    network = opened(InPlace(), 3, 9, 9)
    inputs = torch.randn(2, 3, 9, 9)
    given = seen_by_cloning_hooks(network.module, inputs)
    assert [layer.name for layer in network.layers if layer.overwritten] == ["norm", "next"]
    for name, values in read(network, inputs, "conv,norm,relu,next").items():
        assert torch.equal(values, given[name][0]), name
    assert given["norm"][0].min() < 0  # so the ReLU would have shown


def test_a_change_in_place_that_only_some_inputs_cause_is_noticed():
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, vectors: Tensor) -> Tensor:
            hidden = self.first(vectors)
            if vectors.max() > 10:
                hidden.zero_()
            return hidden + 1

    network = layerwise.open(Sometimes(), example=torch.zeros(1, 4))
    assert not network.layers["first"].overwritten
    inputs = torch.full((2, 4), 20.0)
    values = read(network, inputs, ["first", "."])["first"]
    assert torch.equal(values, network.module.first(inputs))


def test_shared_modules_are_told_apart_by_call_and_found_by_every_name():
    network = opened(Shared(), 6)
    inputs = torch.randn(2, 6)
    module = network.module
    features = read(network, inputs, ["first@1", "again@2", "once"])
    inner = module.first(inputs)
    assert torch.equal(features["first@1"], inner)
    assert torch.equal(features["first@2"], module.first(inner.relu()))
    assert torch.equal(features["once"], module(inputs))  # run by `.forward`, past all hooks
    with pytest.raises(LayerwiseError, match=r"could be 2 tensors; say which: first@1"):
        read(network, inputs, "again")


def test_nested_outputs_are_addressed_and_ambiguous_ones_refused():
    network = opened(Nested(), 6, 5)
    inputs = torch.randn(3, 6, 5)
    module = network.module
    # An LSTM may run another kernel where gradients are wanted.
    with torch.no_grad():
        hidden, (last, cell) = module.lstm(inputs)
    features = read(network, inputs, ["lstm[0]", "lstm[1][0]", "lstm[1][1]", "wrap['hidden']"])
    assert torch.equal(features["lstm[0]"], hidden)
    assert torch.equal(features["lstm[1][0]"], last.transpose(0, 1))
    assert torch.equal(features["lstm[1][1]"], cell.transpose(0, 1))
    whole = module(inputs)
    assert torch.equal(read(network, inputs, ".['sum']")[".['sum']"], whole["sum"])
    with pytest.raises(LayerwiseError, match=r"'lstm' could be 3 tensors"):
        read(network, inputs, "lstm")


def test_what_flows_in_is_read_too():
    network = opened(InPlace(), 3, 9, 9)
    inputs = torch.randn(2, 3, 9, 9)
    features = read(network, inputs, ["next:in", "relu:in"])
    given = seen_by_cloning_hooks(network.module, inputs)
    assert torch.equal(features["next:in[0]"], given["relu"][0])
    assert torch.equal(features["relu:in[0]"], given["norm"][0])


def test_the_root_and_two_taps_on_one_layer():
    network = opened(Branching(), 4)
    inputs = torch.randn(2, 4)
    assert torch.equal(read(network, inputs, ".")["."], network.module(inputs))
    both = []
    with (
        tap(network, "out", lambda _, value: both.append(value)),
        tap(network, "out,small", lambda layer, _: both.append(layer.name)),
    ):
        network(inputs)
    assert both[0] == "small"
    assert [b for b in both if isinstance(b, str)] == ["small", "out"]
    assert len(both) == 3


def test_a_layer_that_did_not_run_is_refused_by_name():
    network = opened(Branching(), 4)
    with pytest.raises(LayerwiseError, match="'large' cannot be read: it did not run"):
        read(network, torch.randn(2, 4), "large")
    with pytest.raises(LayerwiseError, match="'small' did not run for these inputs"):
        read(network, torch.full((2, 4), 99.0), "small")


def test_time_first_layers_are_brought_into_standard_form():
    network = opened(TimeFirst(), 5, 8)
    inputs = torch.randn(3, 5, 8)
    layer = network.layers["layers.1"]
    assert layer.layout.form == "tokens"
    assert (layer.layout.batch, layer.layout.channel) == (1, 2)
    stream = inputs.transpose(0, 1)
    with torch.no_grad():
        for block in network.module.layers[:2]:
            stream = block(stream)
    values = read(network, inputs, "layers.1")["layers.1"]
    assert values.shape == (3, 5, 8)
    torch.testing.assert_close(values, stream.transpose(0, 1))


def test_channels_last_is_normalised_and_pooled_over_places():
    module = timm.create_model(
        "swin_tiny_patch4_window7_224", pretrained=False, depths=(1, 1, 1, 1), embed_dim=24,
        num_heads=(1, 2, 4, 8),
    )  # fmt: skip
    network = opened(module, 3, 224, 224)
    inputs = torch.randn(2, 3, 224, 224)
    raw = seen_by_cloning_hooks(network.module, inputs)["layers.0.blocks.0"][0]
    assert raw.shape == (2, 56, 56, 24)
    assert torch.equal(
        read(network, inputs, "layers.0.blocks.0")["layers.0.blocks.0"], raw.permute(0, 3, 1, 2)
    )
    pooled = pool(network, inputs, "layers.0.blocks.0", [Mean(), Max(), GeM()])
    torch.testing.assert_close(pooled["layers.0.blocks.0", "mean"], raw.mean((1, 2)))
    torch.testing.assert_close(pooled["layers.0.blocks.0", "max"], raw.amax((1, 2)))
    assert pooled["layers.0.blocks.0", "gem"].shape == (2, 24)


def test_pads_do_not_count_and_prefix_tokens_are_cut_off():
    import transformers

    config = transformers.BertConfig(
        vocab_size=90, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    words = torch.randint(5, 90, (2, 9))
    mask = torch.ones_like(words)
    mask[1, 4:] = 0
    module = transformers.BertModel(config, add_pooling_layer=False).eval()
    example = {"input_ids": words[:1], "attention_mask": mask[:1]}
    network = layerwise.open(module, example=example)
    inputs = {"input_ids": words, "attention_mask": mask}
    states = module(**inputs).last_hidden_state.detach()
    pooled = pool(network, inputs, "encoder.layer.1", [Mean()])["encoder.layer.1", "mean"]
    torch.testing.assert_close(pooled[1], states[1, :4].mean(0))

    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2, reg_tokens=3)
    network = opened(vit, 3, 224, 224)
    layout = network.layers["blocks.1"].layout
    assert (layout.prefix, layout.grid) == (4, (14, 14))
    images = torch.randn(2, 3, 224, 224)
    tokens = read(network, images, "blocks.1")["blocks.1"]
    pooled = pool(network, images, "blocks.1", [Mean()])["blocks.1", "mean"]
    torch.testing.assert_close(pooled, tokens[:, 4:].mean(1))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_outer_modes_change_nothing(mode):
    network = opened(InPlace(), 3, 9, 9)
    inputs = torch.randn(2, 3, 9, 9)
    expected = read(network, inputs, "norm,next")
    with mode():
        found = read(network, inputs.clone(), "norm,next")
    for name in expected:
        assert torch.equal(found[name], expected[name])
        assert not found[name].requires_grad


def test_autocast_half_precision_and_double_are_those_of_the_bare_forward():
    module = timm.create_model("resnet10t", pretrained=False).eval()
    inputs = torch.randn(2, 3, 64, 64)
    network = layerwise.open(module, example=inputs[:1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = seen_by_cloning_hooks(module, inputs)
        features = read(network, inputs, "layer2.0,layer1.0.conv1")
    assert features["layer1.0.conv1"].dtype == torch.bfloat16
    assert all(torch.equal(features[name], given[name][0]) for name in features)
    for dtype in (torch.bfloat16, torch.float64):
        other = copy.deepcopy(module).to(dtype)
        network = layerwise.open(other, example=inputs[:1].to(dtype))
        given = seen_by_cloning_hooks(other, inputs.to(dtype))
        features = read(network, inputs.to(dtype), "layer2.0")
        assert features["layer2.0"].dtype == dtype
        assert torch.equal(features["layer2.0"], given["layer2.0"][0])
        pooled = pool(network, inputs.to(dtype), "layer2.0", [Mean()])["layer2.0", "mean"]
        assert pooled.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)


@pytest.mark.parametrize("part", ["whole", "inner", "in place"])
def test_compiled_modules_are_read_although_they_ran_before(part):
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    inputs = torch.randn(3, 4)
    expected = module[1](module[0](inputs)).detach()
    if part == "whole":
        module = torch.compile(module, backend="eager")
    elif part == "inner":
        module[0] = torch.compile(module[0], backend="eager")
    else:
        module[0].compile(backend="eager")
    module(inputs)
    network = layerwise.open(module, example=inputs[:1])
    assert "0" in network.layers.names
    assert torch.equal(read(network, inputs, "1")["1"], expected)
    assert torch.equal(read(network, inputs, "0")["0"].relu(), expected)


def test_fused_layers_are_read_as_they_would_be():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    module = nn.TransformerEncoder(layer, 2).eval()  # takes a fused path in evaluation mode
    inputs = torch.randn(2, 5, 8)
    network = layerwise.open(module, example=inputs[:1])
    values = read(network, inputs, "layers.1")["layers.1"]
    torch.testing.assert_close(values, module(inputs), rtol=1e-4, atol=1e-5)
    assert "layers.0.linear1" in network.layers.names


def test_data_parallel_gives_the_rows_of_all_replicas():
    module = timm.create_model("resnet10t", pretrained=False).eval()
    network = layerwise.open(nn.DataParallel(module), example=torch.randn(1, 3, 64, 64))
    inputs = torch.randn(5, 3, 64, 64)
    values = read(network, inputs, "layer2.0")["layer2.0"]
    assert torch.equal(values, seen_by_cloning_hooks(module, inputs)["layer2.0"][0])


def state_of(module: nn.Module) -> tuple[object, ...]:
    return (
        [m.training for m in module.modules()],
        [p.requires_grad for p in module.parameters()],
        [(n, v.clone()) for n, v in module.state_dict().items()],
        [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in module.modules()],
        ["forward" in m.__dict__ for m in module.modules()],
        torch.get_rng_state(),
        str(np.random.get_state()),
    )


def same(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    weights = zip(before[2], after[2], strict=True)
    equal = all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in weights)
    others = [i for i in range(len(before)) if i not in (2, 5)]
    return equal and torch.equal(before[5], after[5]) and all(before[i] == after[i] for i in others)


def test_nothing_is_left_behind_in_train_mode_or_with_random_layers():
    module = timm.create_model("resnet10t", pretrained=False, drop_rate=0.5).train()
    module.layer2.eval()
    module.conv1.requires_grad_(False)
    module.register_forward_hook(lambda *_: None)
    before = state_of(module)
    network = opened(module, 3, 64, 64, trained=True)
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = (*before[:5], torch.get_rng_state(), *before[6:])
    first = read(network, inputs, "blocks")
    again = read(network, inputs, "blocks")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert same(before, state_of(module))


def test_nothing_is_left_behind_after_an_error():
    module = Fails()
    network = opened(module, 4, trained=True)
    inputs = torch.randn(2, 4)
    _ = network.layers
    module.fail = True
    before = state_of(module)
    with pytest.raises(RuntimeError, match="told to fail"):
        read(network, inputs, "second")
    with pytest.raises(ZeroDivisionError), tap(network, "first", lambda *_: 1 / 0):
        network(inputs)
    assert same(before, state_of(module))
    assert read(network, inputs, "first")["first"].shape == (2, 4)  # it stops before the failure


def test_random_states_are_as_before_although_the_network_draws():
    class Draws(nn.Module):
        def forward(self, vectors: Tensor) -> Tensor:
            return vectors + torch.rand(1) + random.random() + np.random.rand()

    with at_rest(nn.Identity()):
        pass
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    with at_rest(Draws()):
        Draws()(torch.zeros(1))
    assert before[:2] == (random.getstate(), str(np.random.get_state()))
    assert torch.equal(before[2], torch.get_rng_state())


def test_networks_that_swallow_exceptions_and_use_inference_mode_inside():
    network = opened(Unhelpful(), 4)
    inputs = torch.randn(2, 4)
    before = state_of(network.module)
    values = read(network, inputs, "inner")["inner"]
    assert torch.equal(values, network.module.inner(inputs))
    assert same(before, state_of(network.module))


def test_nothing_runs_after_the_last_layer_asked_for():
    network = opened(timm.create_model("resnet10t", pretrained=False), 3, 64, 64)
    ran: list[str] = []
    _ = network.layers
    for name, module in network.module.named_modules():
        module.register_forward_pre_hook(lambda _, __, name=name: ran.append(name))
    read(network, torch.randn(1, 3, 64, 64), "layer2.0")
    assert "layer2.0" in ran
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in ran)


def test_gradients_flow_where_the_user_asks_for_them():
    network = opened(InPlace(), 3, 9, 9)
    kept = []
    inputs = torch.randn(2, 3, 9, 9, requires_grad=True)
    with tap(network, "conv", lambda _, value: kept.append(value)):
        network(inputs).sum().backward()
    assert kept[0].requires_grad
    assert inputs.grad is not None
