"""Cutting keeps every wanted value bit for bit, and nothing that is not needed for it."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.features import Mean
from layerwise.taps import cut, pool, read, saving
from networks import Branching, InPlace, Nested, Shared, TimeFirst, Unhelpful


def opened(module: nn.Module, inputs) -> layerwise.Network:
    example = {k: v[:1] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[:1]
    return layerwise.open(module.eval(), example=example)


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side)


def numbers(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def require_same(network: layerwise.Network, inputs, pattern: str) -> layerwise.Network:
    """Every way to the values gives what the whole network gives, and the rest is gone."""
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    short = cut(network, pattern, inputs=inputs)
    chosen = network.layers.select(pattern)
    names = [layer.name for layer in chosen]
    true = read(network, inputs, names)
    with torch.no_grad():
        called = short(inputs)
    again = read(short, inputs, names)
    pooled = pool(network, inputs, names, [Mean()]), pool(short, inputs, names, [Mean()])
    assert list(called) == names
    for name in names:
        assert torch.equal(called[name], true[name]), name
        assert torch.equal(again[name], true[name]), name
        assert torch.equal(pooled[1][name, "mean"], pooled[0][name, "mean"]), name
    assert numbers(short.module) == max(layer.parameters_before for layer in chosen)
    assert numbers(short.module) == sum(v.numel() for v in short.module.parameters())
    assert not short.module.note
    assert not any(module._forward_hooks for module in short.module.modules())
    after = network.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return short


SWIN = {"img_size": 32, "window_size": 2, "depths": (2, 2), "num_heads": (2, 2), "embed_dim": 16}
VIT = {"img_size": 32, "depth": 4, "embed_dim": 16, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("resnet10t", 32, {}),
        ("swin_tiny_patch4_window7_224", 32, SWIN),
        ("vit_tiny_patch16_224", 32, VIT),
    ],
)
def test_image_networks(name, side, options):
    network = opened(timm.create_model(name, pretrained=False, **options), images(side))
    short = require_same(network, images(side), "50%")
    assert short.module.gone


LLAMA = LlamaConfig(
    vocab_size=40,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=4,
    num_attention_heads=2,
    num_key_value_heads=1,
    tie_word_embeddings=True,
    use_cache=False,
)
MIXTRAL = MixtralConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_local_experts=4,
    num_experts_per_tok=1,
    use_cache=False,
)
T5 = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
DINO = Dinov2Config(
    hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14
)


def test_tied_embeddings_stay_and_the_head_that_shares_them_goes():
    inputs = {"input_ids": torch.randint(40, (2, 5)), "attention_mask": torch.ones(2, 5).long()}
    network = opened(LlamaForCausalLM(LLAMA), inputs)
    short = require_same(network, inputs, "50%")
    assert short.module.gone == ("model.layers.3", "model.norm", "lm_head")
    assert not any("lm_head" in name for name in short.module.state_dict())


def test_experts_of_kept_blocks_stay_whether_they_ran_or_not():
    inputs = {"input_ids": torch.randint(40, (1, 2))}
    network = opened(MixtralForCausalLM(MIXTRAL), inputs)
    short = require_same(network, inputs, "model.layers.1")
    other = {"input_ids": torch.randint(40, (4, 9))}
    layer = "model.layers.1"
    assert torch.equal(read(short, other, layer)[layer], read(network, other, layer)[layer])


def test_encoder_alone_and_into_the_decoder():
    config = copy.copy(T5)
    config.use_cache, config.decoder_start_token_id = False, 0
    inputs = {
        "input_ids": torch.randint(1, 40, (2, 6)),
        "decoder_input_ids": torch.randint(1, 40, (2, 4)),
    }
    network = opened(T5ForConditionalGeneration(config), inputs)
    assert "decoder" in require_same(network, inputs, "encoder.block.1.layer.1").module.gone
    assert "lm_head" in require_same(network, inputs, "decoder.block.0.layer.2").module.gone


def test_a_vision_transformer_of_transformers_at_another_size():
    network = opened(Dinov2Model(DINO), images(28))
    short = require_same(network, images(28), "encoder.layer.1")
    layer = "encoder.layer.1"
    assert torch.equal(
        read(short, images(56) * 0, layer)[layer], read(network, images(56) * 0, layer)[layer]
    )


@pytest.mark.parametrize(
    ("module", "shape", "layer"),
    [
        (InPlace(), (3, 9, 9), "norm, relu"),
        (Shared(), (6,), "first@1"),
        (Shared(), (6,), "first@2"),
        (Nested(), (4, 5), "lstm[0]"),
        (Nested(), (4, 5), "attention[0], lstm[0]"),
        (Nested(), (4, 5), "wrap:in"),
        (TimeFirst(), (5, 8), "layers.1"),
        (Unhelpful(), (4,), "inner"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_traps_of_reading(module, shape, layer):
    require_same(opened(module, torch.randn(2, *shape)), torch.randn(2, *shape), layer)


def test_a_branch_that_this_input_did_not_take_stays():
    network = opened(Branching(), torch.randn(2, 4))
    short = cut(network, "out")
    large = torch.randn(2, 4) * 1000
    assert torch.equal(read(short, large, "out")["out"], read(network, large, "out")["out"])


class Peeking(nn.Module):
    """Looks at a part that runs late before it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(4, 4)
        self.late = nn.Linear(4, 700)

    def forward(self, vectors: Tensor) -> Tensor:
        wide = self.late.out_features > 100
        return self.late(self.early(vectors) + wide)


class Borrowing(nn.Module):
    """Uses the weights of a part long before that part runs."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(4, 4)
        self.late = nn.Linear(4, 4)
        self.last = nn.Linear(4, 9)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.last(self.late(self.early(vectors @ self.late.weight)))


class Clinging(Peeking):
    """Needs the late part's tensors before it begins, if only for their type."""

    def forward(self, vectors: Tensor) -> Tensor:
        return self.late(self.early(vectors.to(self.late.weight.dtype)))


def test_where_a_part_is_looked_at_only_its_tensors_go():
    short = require_same(opened(Peeking(), torch.randn(2, 4)), torch.randn(2, 4), "early")
    assert isinstance(short.module.body.late, nn.Linear)
    assert short.module.body.late.weight is None


def test_weights_that_are_borrowed_stay():
    network = opened(Borrowing(), torch.randn(2, 4))
    short = cut(network, "early")
    assert short.module.gone == ("last",)
    inputs = torch.randn(3, 4)
    assert torch.equal(short(inputs)["early"], read(network, inputs, "early")["early"])


def _moved(value: Tensor, place: int) -> Tensor:
    """The same numbers, beginning so many of them after a place where a copy would begin."""
    memory = torch.empty(value.numel() + 32)
    start = next(i for i in range(16) if memory[i:].data_ptr() % 64 == 0)
    there = memory[start + place :][: value.numel()].view_as(value)
    return there.copy_(value)


@pytest.mark.parametrize("place", [1, 4, 5])
def test_weights_that_lie_askew_as_in_a_mapped_file_are_cut(place):
    module = nn.Sequential(*[nn.Linear(24, 24) for _ in range(4)])
    for weight in module.parameters():
        weight.data = _moved(weight.data, place)
    assert any(weight.data_ptr() % 64 for weight in module.parameters())
    inputs = torch.randn(1, 24)
    short = cut(opened(module, inputs), "2", inputs=inputs)
    assert short.module.gone == ("3",)
    assert short.module.note == ""
    torch.testing.assert_close(short(inputs)["2"], module[:3](inputs))


class Changing(nn.Module):
    """A copy of it gives something else than it does."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def __deepcopy__(self, memo):
        copied = Changing(self.factor + 1)
        copied.load_state_dict(self.state_dict())
        return copied.eval()

    def forward(self, x):
        return self.last(self.first(self.factor * x))


def test_a_copy_that_gives_something_else_is_not_taken():
    module = Changing()
    inputs = torch.randn(2, 4)
    short = cut(opened(module, inputs), "first", inputs=inputs)
    assert "what is left gives other values" in short.module.note
    assert torch.equal(short(inputs)["first"], module.first(inputs))


def test_what_cannot_be_cut_stops_early_and_says_so():
    network = opened(Clinging(), torch.randn(2, 4))
    short = cut(network, "early")
    assert "stops early but nothing could be removed" in short.module.note
    assert short.module.gone == ()
    inputs = torch.randn(3, 4)
    assert torch.equal(short(inputs)["early"], read(network, inputs, "early")["early"])


def test_what_was_cut_away_says_so_when_it_is_needed():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, vectors: Tensor) -> Tensor:
            if vectors.abs().max() > 10:
                vectors = self.two(vectors)
            return self.two(self.one(vectors))

    short = cut(opened(Late(), torch.randn(2, 4)), "one")
    with pytest.raises(LayerwiseError, match="'two' was cut away, but these inputs need it"):
        short(100 * torch.ones(1, 4))


def small() -> layerwise.Network:
    parts = (nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 80, 3))
    return opened(nn.Sequential(*parts), images(9))


def test_copies_and_pickles_and_gradients():
    network = small()
    short = cut(network, "0, 2")
    inputs = images(9)
    values = short(inputs)
    for other in (copy.deepcopy(short.module), pickle.loads(pickle.dumps(short.module))):
        again = other(inputs)
        assert all(torch.equal(again[name], values[name]) for name in values)
    values["2"].sum().backward()
    assert short.module.body[0].weight.grad is not None
    assert network.module[0].weight.grad is None


def test_the_saving_is_counted_and_measured():
    network = small()
    short = cut(network, "1")
    found = saving(network, short, inputs=images(9, 3), repeats=2)
    assert found.parameters == (numbers(network.module), numbers(short.module))
    assert found.bytes == (4 * found.parameters[0], 4 * found.parameters[1])
    assert found.batch == 3
    assert min(found.milliseconds) > 0


def test_mistakes_are_one_line_each():
    network = layerwise.open(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(LayerwiseError, match="has no example yet"):
        cut(network, "0")
    with pytest.raises(LayerwiseError, match="no layer is called '7'"):
        cut(network, "7", inputs=torch.zeros(1, 4))
