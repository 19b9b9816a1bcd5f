"""Layers, layouts and values on real architectures with random weights.

Every tensor that `read` gives for a block is compared, bit for bit, with the architecture's own way
to its intermediate features, or with a plain hook that copies at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import layerwise
from layerwise.taps import read


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))


def words(count: int = 7) -> dict[str, Tensor]:
    ids = torch.randint(5, 90, (2, count), generator=torch.Generator().manual_seed(count))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def opened(module: nn.Module, inputs: Any) -> layerwise.Network:
    example = {k: v[:1] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[:1]
    return layerwise.open(module.eval(), example=example)


def by_hooks(network: layerwise.Network, inputs: Any, names: list[str]) -> dict[str, Any]:
    """What modules give, copied at once; the reference where an architecture has no own way."""
    given: dict[str, Any] = {}
    wanted = {name.partition("[")[0].partition("@")[0] for name in names}

    def note(name: str):
        def hook(_, __, output):
            one = output if isinstance(output, Tensor) else None
            kept = [o.clone() if isinstance(o, Tensor) else o for o in output] if one is None else 0
            given.setdefault(name, []).append(kept if one is None else one.clone())

        return hook

    modules = {n: m for n, m in network.module.named_modules() if n in wanted}
    hooks = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return given


def require_equal_to_hooks(network: layerwise.Network, inputs: Any) -> None:
    features = read(network, inputs, "blocks")
    given = by_hooks(network, inputs, list(features))
    assert len(features) >= 3
    for name, values in features.items():
        layer = network.layers[name]
        path, _, element = name.partition("[")
        module, _, call = path.partition("@")
        raw = given[module][int(call or 1) - 1]
        raw = raw[int(element[:-1])] if element else raw
        assert torch.equal(values, layer.sure.standard(raw)), name


@dataclass(frozen=True)
class Expected:
    """What is known of an architecture: `prefix` tokens, form, number of blocks."""

    name: str
    side: int
    blocks: int
    form: str = "map"
    prefix: int = 0
    options: tuple[tuple[str, Any], ...] = ()


WITH_INTERMEDIATES = [
    Expected("resnet10t", 64, 4),
    Expected("resnext50_32x4d", 64, 16),
    Expected("regnetx_002", 64, 13),
    Expected("efficientnet_lite0", 64, 16),
    Expected("mobilenetv3_small_050", 64, 11),
    Expected("convnext_atto", 64, 12),
    Expected("poolformer_s12", 64, 12),
    Expected(
        "swin_tiny_patch4_window7_224", 64, 12, options=(("img_size", 64), ("window_size", 4))
    ),
    Expected("pvt_v2_b0", 64, 8, "tokens"),
    Expected("vit_tiny_patch16_224", 224, 12, "tokens", 1),
    Expected("deit_tiny_distilled_patch16_224", 224, 12, "tokens", 2),
    Expected("vit_small_patch14_reg4_dinov2", 56, 12, "tokens", 5, (("img_size", 56),)),
    Expected("eva02_tiny_patch14_224", 56, 12, "tokens", 1, (("img_size", 56),)),
    Expected("mixer_s32_224", 224, 8, "tokens"),
    Expected("repvgg_a0", 64, 21),
    Expected("maxvit_rmlp_pico_rw_256", 64, 11, options=(("img_size", 64),)),
]


@pytest.mark.parametrize("expected", WITH_INTERMEDIATES, ids=lambda e: e.name)
def test_timm_blocks_equal_its_own_intermediates(expected):
    module = timm.create_model(expected.name, pretrained=False, **dict(expected.options))
    inputs = images(expected.side)
    network = opened(module, inputs)
    blocks = [layer for layer in network.layers.select("blocks") if layer.kind == "block"]
    assert len(blocks) == expected.blocks
    assert {layer.sure.form for layer in blocks} == {expected.form}
    assert {layer.sure.prefix for layer in blocks} == {expected.prefix}
    features = read(network, inputs, [la.name for la in network.layers if la.layout is not None])
    with torch.no_grad():
        own = module.forward_intermediates(inputs, norm=False, intermediates_only=True)
    # Its own way gives stages for some and blocks or norms for others: each is among our layers.
    maps = [as_map(network, name, values) for name, values in features.items()]
    for theirs in own:
        same = [m for m in maps if m is not None and m.shape == theirs.shape]
        assert any(torch.equal(m, theirs) for m in same), theirs.shape
    require_equal_to_hooks(network, inputs)


def as_map(network: layerwise.Network, name: str, values: Tensor) -> Tensor | None:
    layout = network.layers[name].sure
    if layout.form == "map":
        return values
    if layout.form == "tokens" and layout.grid is not None:
        return values[:, layout.prefix :].transpose(1, 2).unflatten(2, layout.grid)
    return None


BY_HOOKS = [
    Expected("densenet121", 64, 4),
    Expected("levit_128s", 224, 9, "tokens"),
    Expected("mvitv2_tiny", 64, 10, "tokens", 0, (("img_size", 64),)),
    Expected("hrnet_w18_small", 64, 3),
    Expected("xcit_nano_12_p16_224", 64, 14, "tokens", -1),
    Expected("cait_xxs24_224", 224, 26, "tokens", -1, (("depth", 2),)),
    Expected("twins_pcpvt_small", 64, 16, "tokens", 0, (("img_size", 64),)),
    Expected("coatnet_pico_rw_224", 224, 12),
    Expected("mobilevit_xxs", 64, 13, "", -1),
    Expected("ghostnet_100", 64, 16),
    Expected("crossvit_tiny_240", 240, 3, "tokens", 1),
    Expected("dla34", 64, 12),
    Expected("gcvit_xxtiny", 224, 4),
    Expected("nfnet_l0", 64, 12),
]


@pytest.mark.parametrize("expected", BY_HOOKS, ids=lambda e: e.name)
def test_timm_blocks_equal_plain_hooks(expected):
    module = timm.create_model(expected.name, pretrained=False, **dict(expected.options))
    inputs = images(expected.side)
    network = opened(module, inputs)
    chosen = network.layers.select("blocks")
    sure = [layer for layer in chosen if layer.layout is not None]
    if expected.form:
        assert {layer.sure.form for layer in sure if layer.kind == "block"} == {expected.form}
        assert sure == list(chosen)
    if expected.prefix >= 0:
        assert {layer.sure.prefix for layer in sure if layer.kind == "block"} == {expected.prefix}
    else:
        folded = [layer.doubt for layer in chosen if layer.layout is None]
        assert all("folded" in doubt for doubt in folded)
    given = by_hooks(network, inputs, [layer.name for layer in sure])
    for name, values in read(network, inputs, [layer.name for layer in sure]).items():
        module_name, _, element = name.partition("@")[0].partition("[")
        call = int(name.partition("@")[2].partition("[")[0] or 1)
        raw = given[module_name][call - 1]
        raw = raw[int(element[:-1])] if element else raw
        assert torch.equal(values, network.layers[name].sure.standard(raw)), name


TORCHVISION = [
    ("vgg11", 64, "features.1", 10),
    ("googlenet", 64, "inception3a", 9),
    ("squeezenet1_1", 64, "features.3", 8),
    ("mobilenet_v3_small", 64, "features.1", 11),
    ("convnext_tiny", 64, "features.1.0", 18),
    ("swin_v2_t", 64, "features.1.0", 12),
    ("vit_b_32", 224, "encoder.layers.encoder_layer_0", 12),
    ("regnet_y_400mf", 64, "trunk_output.block1.block1-0", 16),
]


@pytest.mark.parametrize(("name", "side", "first", "count"), TORCHVISION)
def test_torchvision_blocks_equal_plain_hooks(name, side, first, count):
    import torchvision

    options = {"init_weights": False} if name == "googlenet" else {}
    module = getattr(torchvision.models, name)(weights=None, **options)
    network = opened(module, images(side))
    blocks = [layer.name for layer in network.layers.select("blocks") if layer.kind == "block"]
    assert blocks[0] == first
    assert len(blocks) == count
    require_equal_to_hooks(network, images(side))


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
}


def hugging(name: str) -> tuple[nn.Module, Any, str]:
    """A tiny network of transformers, a batch, and where its `hidden_states` begin."""
    import transformers as t

    pixels = {"pixel_values": images(56)}
    made = {
        "bert": lambda: (t.BertModel(t.BertConfig(**SMALL), add_pooling_layer=False), words()),
        "roberta": lambda: (
            t.RobertaModel(t.RobertaConfig(**SMALL), add_pooling_layer=False),
            words(),
        ),
        "electra": lambda: (t.ElectraModel(t.ElectraConfig(embedding_size=32, **SMALL)), words()),
        "distilbert": lambda: (
            t.DistilBertModel(
                t.DistilBertConfig(dim=32, n_layers=3, n_heads=4, hidden_dim=64, vocab_size=100)
            ),
            words(),
        ),
        "albert": lambda: (
            t.AlbertModel(t.AlbertConfig(embedding_size=32, **SMALL), add_pooling_layer=False),
            words(),
        ),
        "llama": lambda: (t.LlamaModel(t.LlamaConfig(**SMALL)), words()),
        "qwen2": lambda: (t.Qwen2Model(t.Qwen2Config(num_key_value_heads=4, **SMALL)), words()),
        "gpt2": lambda: (
            t.GPT2Model(
                t.GPT2Config(
                    n_embd=32, n_layer=3, n_head=4, vocab_size=100, bos_token_id=1, eos_token_id=2
                )
            ),
            words(),
        ),
        "mixtral": lambda: (
            t.MixtralModel(t.MixtralConfig(num_local_experts=4, num_key_value_heads=4, **SMALL)),
            words(),
        ),
        "dinov2": lambda: (
            t.Dinov2Model(
                t.Dinov2Config(
                    image_size=56,
                    patch_size=14,
                    hidden_size=32,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                )
            ),
            pixels,
        ),
        "vit": lambda: (
            t.ViTModel(
                t.ViTConfig(
                    image_size=56,
                    patch_size=14,
                    hidden_size=32,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                    intermediate_size=64,
                ),
                add_pooling_layer=False,
            ),
            pixels,
        ),
    }
    return made[name]()


@pytest.mark.parametrize(
    "name",
    [
        "bert", "roberta", "electra", "distilbert", "albert", "llama", "qwen2", "gpt2", "mixtral",
        "dinov2", "vit",
    ],
)  # fmt: skip
def test_transformers_blocks_equal_its_hidden_states(name):
    module, inputs = hugging(name)
    network = opened(module, inputs)
    blocks = [layer for layer in network.layers.select("blocks") if layer.kind == "block"]
    assert len(blocks) == 3
    vision = "pixel_values" in inputs
    assert {layer.sure.form for layer in blocks} == {"tokens"}
    assert {(layer.sure.prefix, layer.sure.grid) for layer in blocks} == {
        (1, (4, 4)) if vision else (0, None)
    }
    features = read(network, inputs, [layer.name for layer in blocks])
    with torch.no_grad():
        states = network.module(**inputs, output_hidden_states=True).hidden_states
    # Some put the final norm on the last of them; the ones before are the blocks' own outputs.
    for layer, state in list(zip(blocks, states[1:], strict=False))[:-1]:
        assert torch.equal(features[layer.name], state), layer.name
    require_equal_to_hooks(network, inputs)


def test_encoder_decoders_have_two_streams():
    import transformers as t

    ids = words()["input_ids"]
    config = t.T5Config(d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=64, vocab_size=100)
    inputs = {"input_ids": ids, "decoder_input_ids": ids}
    network = opened(t.T5Model(config), inputs)
    names = [layer.name for layer in network.layers.select("blocks")]
    assert names == [
        "encoder.embed_tokens",
        "encoder.block.0[0]",
        "encoder.block.1[0]",
        "encoder.final_layer_norm",
        "decoder.embed_tokens",
        "decoder.block.0[0]",
        "decoder.block.1[0]",
        "decoder.final_layer_norm",
    ]
    features = read(network, inputs, "blocks")
    with torch.no_grad():
        out = network.module(**inputs, output_hidden_states=True)
    assert torch.equal(features["encoder.final_layer_norm"], out.encoder_last_hidden_state)
    assert torch.equal(features["decoder.final_layer_norm"], out.last_hidden_state)
    assert torch.equal(features["encoder.block.0[0]"], out.encoder_hidden_states[1])

    config = t.BartConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=100,
    )  # fmt: skip
    network = opened(t.BartModel(config), inputs)
    features = read(network, inputs, "blocks")
    with torch.no_grad():
        out = network.module(**inputs)
    assert torch.equal(features["decoder.layers.1"], out.last_hidden_state)
    assert torch.equal(features["encoder.layers.1"], out.encoder_last_hidden_state)


def test_hierarchical_transformers_of_transformers():
    import transformers as t

    config = t.SwinConfig(
        image_size=64, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    inputs = {"pixel_values": images(64)}
    network = opened(t.SwinModel(config), inputs)
    blocks = [layer for layer in network.layers.select("blocks") if layer.kind == "block"]
    assert [layer.sure.grid for layer in blocks] == [(16, 16), (16, 16), (8, 8), (8, 8)]
    require_equal_to_hooks(network, inputs)
    network = opened(t.SegformerModel(t.SegformerConfig()), inputs)
    blocks = [layer for layer in network.layers.select("blocks") if layer.kind == "block"]
    assert [layer.sure.grid for layer in blocks[::2]] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert {layer.sure.form for layer in blocks} == {"tokens"}
    require_equal_to_hooks(network, inputs)
