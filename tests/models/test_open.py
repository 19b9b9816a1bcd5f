"""Any network opens by its name, its file or its module, and a mistake gives one telling line."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, TextPreparation, starters
from layerwise.models import open as open_network
from networks import tiny_clip, tiny_siglip

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[EOS]",
    *["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "sun"],
]
HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A machine without a connection and with empty caches."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def fail(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr("torch.hub.urlopen", fail)


def small():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def save_tokenizer(folder, *, length=16):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    rules = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=rules,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[EOS]",
        model_max_length=length,
    ).save_pretrained(folder)


def text_module(name):
    import transformers as t

    size = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2}
    bert = {**size, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0}
    gpt2 = {"vocab_size": len(WORDS), "n_embd": 16, "n_positions": 10}
    t5 = {"vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2}
    bart = {"vocab_size": len(WORDS), "d_model": 16, "encoder_layers": 2, "decoder_layers": 2}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    builders = {
        "BertModel": lambda: t.BertModel(t.BertConfig(**bert)),
        "BertForMaskedLM": lambda: t.BertForMaskedLM(t.BertConfig(**bert)),
        "RobertaModel": lambda: t.RobertaModel(
            t.RobertaConfig(**{**bert, "pad_token_id": 1}, max_position_embeddings=12)
        ),
        "LlamaForCausalLM": lambda: t.LlamaForCausalLM(
            t.LlamaConfig(**size, num_attention_heads=2, intermediate_size=32, pad_token_id=0)
        ),
        "GPT2LMHeadModel": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(**gpt2, n_layer=2, n_head=2, bos_token_id=4, eos_token_id=4)
        ),
        "T5ForConditionalGeneration": lambda: t.T5ForConditionalGeneration(
            t.T5Config(**t5, num_heads=2, decoder_start_token_id=0)
        ),
        "T5EncoderModel": lambda: t.T5EncoderModel(t.T5Config(**t5, num_heads=2)),
        "BartModel": lambda: t.BartModel(
            t.BartConfig(**bart, **heads, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0)
        ),
    }
    return builders[name]().eval()


TEXT_MODULES = [
    "BertModel",
    "BertForMaskedLM",
    "RobertaModel",
    "LlamaForCausalLM",
    "GPT2LMHeadModel",
    "T5ForConditionalGeneration",
    "T5EncoderModel",
    "BartModel",
]


class TestHuggingFace:
    @pytest.mark.parametrize("name", TEXT_MODULES)
    def test_a_folder_of_a_text_network_opens_whole(self, name, tmp_path):
        module = text_module(name)
        module.save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        network = open_network(f"hf:{tmp_path}")
        assert type(network.module).__name__ == name
        assert network.modality == "text"
        for key, value in module.state_dict().items():
            assert torch.equal(network.module.state_dict()[key], value)
        texts = ["the cat sat on the mat", "a dog", "the sun " * 40]
        prepared = [network.prepare(text) for text in texts]
        assert [p["truncated"] for p in prepared] == [False, False, True]
        batch = network.batch(prepared)
        assert network.collate.truncated == 1
        with torch.no_grad():
            together = first_tensor(network(batch))
            alone = first_tensor(network(network.batch(prepared[1:2])))
        length = alone.shape[1]
        assert_close(together[1, :length], alone[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("name", "length"), [("RobertaModel", 10), ("GPT2LMHeadModel", 10)])
    def test_texts_are_cut_where_the_positions_end(self, name, length, tmp_path):
        text_module(name).save_pretrained(tmp_path)
        save_tokenizer(tmp_path, length=10**30)
        network = open_network(f"hf:{tmp_path}")
        assert network.prepare("cat " * 50)["input_ids"].shape == (length,)
        network(network.batch([network.prepare("cat " * 50)]))

    def test_a_decoder_beside_an_encoder_reads_the_text_too(self, tmp_path):
        module = text_module("BartModel")
        module.save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        network = open_network(f"hf:{tmp_path}")
        batch = network.batch([network.prepare("the cat sat")])
        ours = network(batch).last_hidden_state
        ids = batch["input_ids"]
        theirs = module(input_ids=ids).last_hidden_state  # BART shifts its input by itself
        assert_close(ours, theirs)

    @pytest.mark.parametrize("name", ["ViTForImageClassification", "Dinov2Model", "ResNetModel"])
    def test_a_folder_of_an_image_network_opens_whole(self, name, tmp_path):
        import transformers as t

        vit = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        configs = {
            "ViTForImageClassification": lambda: t.ViTConfig(
                **vit, intermediate_size=32, image_size=32
            ),
            "Dinov2Model": lambda: t.Dinov2Config(**vit, image_size=28, patch_size=14),
            "ResNetModel": lambda: t.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            ),
        }
        module = getattr(t, name)(configs[name]()).eval()
        module.save_pretrained(tmp_path)
        t.ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(tmp_path)
        if name == "ViTForImageClassification":
            t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
        network = open_network(f"hf:{tmp_path}", name="mine")
        assert network.name == "mine"
        assert network.modality == "image"
        assert isinstance(network.prepare, ImagePreparation)
        with torch.no_grad():
            assert_close(
                first_tensor(network(network.example)), first_tensor(module(network.example))
            )

    def test_half_precision_is_brought_to_float32(self, tmp_path):
        text_module("LlamaForCausalLM").half().save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        network = open_network(f"hf:{tmp_path}")
        assert {p.dtype for p in network.module.parameters()} == {torch.float32}
        assert network.module.config.use_cache is False

    def test_an_unused_pooler_that_the_weights_lack_is_left_out(self, tmp_path):
        import transformers

        config = text_module("BertModel").config
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        assert open_network(f"hf:{tmp_path}").module.pooler is None

    def test_other_missing_weights_are_an_error(self, tmp_path):
        module = text_module("BertModel")
        weights = module.state_dict()
        gone = {n: v for n, v in weights.items() if "layer.1.output" not in n}
        module.save_pretrained(tmp_path, state_dict=gone)
        save_tokenizer(tmp_path)
        with pytest.raises(LayerwiseError, match=r"4 tensors would be random, such as encoder"):
            open_network(f"hf:{tmp_path}")

    def test_pickled_weights_are_refused(self, tmp_path):
        module = text_module("BertModel")
        module.save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(LayerwiseError, match=r"cannot be opened.*model.safetensors"):
            open_network(f"hf:{tmp_path}")

    def test_code_beside_the_weights_is_never_run(self, tmp_path):
        (tmp_path / "config.json").write_text(
            '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}'
        )
        (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
        with pytest.raises(LayerwiseError, match="cannot be opened"):
            open_network(f"hf:{tmp_path}")

    def test_a_folder_without_tokenizer_asks_for_a_preparation(self, tmp_path):
        text_module("BertModel").save_pretrained(tmp_path)
        with pytest.raises(LayerwiseError, match=r"comes with no tokenizer; give prepare="):
            open_network(f"hf:{tmp_path}")
        save_tokenizer(tmp_path / "tokens")
        tokenizer = __import__("transformers").AutoTokenizer.from_pretrained(tmp_path / "tokens")
        prepare = TextPreparation.of(tokenizer, length=8)
        network = open_network(f"hf:{tmp_path}", prepare=prepare)
        assert network.modality == "text"
        assert network.example["input_ids"].shape == (1, 8)

    def test_a_network_of_pictures_and_texts_opens_by_its_sides(self, tmp_path):
        place = tiny_clip(tmp_path)
        with pytest.raises(
            LayerwiseError, match=r"texts at once; open one side of it: hf:.*#image"
        ):
            open_network(f"hf:{place}")
        image, text = (open_network(f"hf:{place}#{side}") for side in ("image", "text"))
        assert (image.modality, text.modality) == ("image", "text")
        assert image.weights_hash == text.weights_hash
        for side in (image, text):
            assert side.layers.select("blocks")[-1].name == "joint"
        assert image.layers["joint"].shape == text.layers["joint"].shape == (1, 12)
        assert text.prepare("red " * 20)["input_ids"].tolist() == [2] * 7 + [5]

    def test_siglip_is_shown_texts_of_the_length_it_was_trained_with(self, tmp_path):
        text = open_network(f"hf:{tiny_siglip(tmp_path)}#text")
        batch = text.batch([text.prepare("red"), text.prepare("green apple")])
        assert batch["input_ids"].tolist() == [[2, 5] + [0] * 6, [3, 4, 5] + [0] * 5]
        assert batch["attention_mask"].sum(1).tolist() == [2, 3]

    def test_weights_lie_where_those_of_a_copy_lie(self, tmp_path):
        network = open_network(f"hf:{tiny_clip(tmp_path)}#text")
        copied = copy.deepcopy(network.module)
        assert all(value.data_ptr() % 64 == 0 for value in network.module.parameters())
        for words in ("red", "red apple", "green " * 4):
            batch = network.batch([network.prepare(words)])
            assert torch.equal(network.module(**batch), copied(**batch))

    def test_sides_of_another_network_are_refused(self, tmp_path):
        text_module("BertModel").save_pretrained(tmp_path)
        with pytest.raises(LayerwiseError, match=r"is BertModel; #image and #text are sides of"):
            open_network(f"hf:{tmp_path}#text")

    def test_random_weights_need_only_the_configuration(self, tmp_path):
        text_module("BertModel").config.save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
        first, second = (open_network(f"random:hf:{tmp_path}") for _ in range(2))
        assert first.weights_hash == second.weights_hash
        assert first.name.endswith("-random")

    @pytest.mark.usefixtures("no_hub")
    def test_without_a_hub_there_is_one_line(self):
        with pytest.raises(LayerwiseError, match=r"^hf:a/b cannot be opened: the hub does not"):
            open_network("hf:a/b")


def first_tensor(output):
    return output if isinstance(output, torch.Tensor) else next(iter(output.values()))


class TestLibraries:
    @pytest.mark.parametrize("source", ["timm:test_vit", "torchvision:squeezenet1_1"])
    def test_random_weights_are_always_the_same_and_draw_nothing(self, source):
        state = torch.get_rng_state()
        first, second = (open_network(f"random:{source}") for _ in range(2))
        assert torch.equal(state, torch.get_rng_state())
        assert first.weights_hash == second.weights_hash
        assert first.source == f"random:{source}"
        assert first.name == source.partition(":")[2] + "-random"
        assert not any(m.training for m in first.module.modules())
        with torch.no_grad():
            assert first(first.example).shape == (1, 1000)
        assert pickle.loads(pickle.dumps(first.prepare)) == first.prepare

    @pytest.mark.usefixtures("no_hub")
    @pytest.mark.parametrize("source", ["timm:resnet18", "torchvision:resnet18"])
    def test_without_a_connection_there_is_one_line_with_two_ways_out(self, source):
        with pytest.raises(LayerwiseError) as error:
            open_network(source)
        line = str(error.value)
        assert "\n" not in line
        assert f"random:{source}" in line
        assert f"{source}@FILE" in line

    def test_published_weights_come_as_safetensors_from_the_hubs_cache(self, monkeypatch, tmp_path):
        """A file as the hub would give it; timm brings its own names into order."""
        import timm

        module = timm.create_model("test_vit").eval()
        save_file(module.state_dict(), tmp_path / "model.safetensors")
        asked = []

        def give(repository, name):
            asked.append((repository, name))
            return str(tmp_path / "model.safetensors")

        monkeypatch.setattr("layerwise.models._timm.hub_file", give)
        network = open_network("timm:test_vit")
        assert asked == [("timm/test_vit.r160_in1k", "model.safetensors")]
        assert "weights r160_in1k" in network.card
        for name, value in module.state_dict().items():
            assert torch.equal(network.module.state_dict()[name], value)

    def test_a_network_that_is_no_classifier_asks_for_a_preparation(self):
        source = "random:torchvision:lraspp_mobilenet_v3_large"
        with pytest.raises(LayerwiseError, match=r"no classifier.*give prepare="):
            open_network(source)
        prepare = ImagePreparation((64, 64), None, "bilinear", HALF, HALF)
        network = open_network(source, prepare=prepare)
        assert network.example.shape == (1, 3, 64, 64)


class TestFiles:
    @pytest.mark.parametrize("classes", [1000, 7])
    @pytest.mark.parametrize("library", ["timm", "torchvision"])
    def test_an_architecture_takes_the_weights_of_a_file(self, library, classes, tmp_path):
        import timm
        import torchvision

        if library == "timm":
            name, module = "test_resnet", timm.create_model("test_resnet", num_classes=classes)
        else:
            name = "squeezenet1_1"
            module = torchvision.models.squeezenet1_1(num_classes=classes)
        save_file(module.state_dict(), tmp_path / "mine.safetensors")
        network = open_network(f"{library}:{name}@{tmp_path / 'mine.safetensors'}")
        assert network.name == f"{name}@mine"
        assert "mine.safetensors" in network.card
        inputs = network.example
        with torch.no_grad():
            assert_close(network(inputs), module.eval()(inputs))
            assert network(inputs).shape == (1, classes)

    def test_what_does_not_fit_is_named(self, tmp_path):
        torch.save(small().state_dict(), tmp_path / "a.pt")
        with pytest.raises(LayerwiseError) as error:
            open_network(f"timm:test_vit@{tmp_path / 'a.pt'}")
        line = str(error.value)
        assert "missing: cls_token" in line
        assert "unexpected: 0.weight [8, 4]" in line
        assert "\n" not in line

    def test_a_file_or_folder_alone_says_how_to_write_it(self, tmp_path):
        with pytest.raises(LayerwiseError, match=r"write ARCHITECTURE@FILE, as in timm:resnet18@"):
            open_network(str(tmp_path / "model.safetensors"))
        with pytest.raises(LayerwiseError, match="write hf:"):
            open_network(str(tmp_path))

    def test_a_folder_with_a_sign_in_its_name_is_still_a_folder(self, tmp_path):
        folder = tmp_path / "me@home"
        text_module("BertModel").save_pretrained(folder)
        save_tokenizer(folder)
        assert open_network(f"hf:{folder}").name == "me@home"


class TestNames:
    @pytest.mark.parametrize(
        ("source", "near"),
        [
            ("dinov2-smal", "dinov2-small"),
            ("resnet18", "timm:resnet18"),
            ("timm:resnet18x", "resnet18"),
            ("timm:resnet18.nope", "resnet18.a1_in1k"),
            ("torchvision:resnet19", "resnet18"),
            ("hub:resnet18", "timm:resnet18"),
            ("", starters()[0].name),
        ],
    )
    def test_a_wrong_name_lists_the_nearest(self, source, near):
        with pytest.raises(LayerwiseError, match=r"nearest: ") as error:
            open_network(source)
        assert near in str(error.value)

    def test_a_starter_has_no_random_weights_of_its_own(self):
        with pytest.raises(LayerwiseError, match=r"randomised\(open\('minilm-l6'\)\)"):
            open_network("random:minilm-l6")

    def test_other_mistakes_give_one_line(self):
        with pytest.raises(LayerwiseError, match="no modality is called 'picture'"):
            open_network(small(), modality="picture")
        with pytest.raises(LayerwiseError, match="device 'nowhere' cannot be used"):
            open_network("random:timm:test_vit", device="nowhere")


@dataclass(frozen=True)
class Halve:
    """A preparation as a user would write it."""

    factor: float = 0.5

    def __call__(self, sample):
        return sample * self.factor


def double(sample):
    return sample * 2


class TestOwnModule:
    def test_it_takes_tensors_as_they_are(self):
        module = small()
        network = open_network(module, example=torch.zeros(1, 4))
        assert network.module is module
        assert network.modality == "tensor"
        batch = network.batch([torch.ones(4), torch.zeros(4)])
        assert_close(network(batch), module(torch.stack([torch.ones(4), torch.zeros(4)])))
        assert repr(network.prepare) == "AsIs()"

    def test_it_opens_without_an_example(self):
        network = open_network(small(), name="mine")
        assert network.name == "mine"
        assert network(network.batch([torch.ones(4)])).shape == (1, 2)

    def test_it_may_take_named_tensors(self):
        network = open_network(small())
        batch = network.batch([{"a": torch.ones(2), "b": torch.zeros(3)}] * 2)
        assert {name: tuple(v.shape) for name, v in batch.items()} == {"a": (2, 2), "b": (2, 3)}

    def test_wrappers_are_taken_off(self):
        module = small()
        assert open_network(torch.compile(module)).module is module
        assert open_network(nn.DataParallel(module)).module is module
        assert open_network(torch.compile(nn.DataParallel(torch.compile(module)))).module is module

    def test_it_is_left_as_it_is(self):
        module = small().train()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        open_network(module)
        assert module.training
        assert all(torch.equal(value, before[n]) for n, value in module.state_dict().items())
        with pytest.raises(
            LayerwiseError, match=r"never changed; move it with module.to\('meta'\)"
        ):
            open_network(module, device="meta")

    def test_a_preparation_of_ones_own_is_known_by_its_repr(self):
        assert repr(open_network(small(), prepare=Halve(), modality="tensor").prepare) == repr(
            Halve()
        )
        first, second = (open_network(small(), prepare=double, modality="tensor") for _ in range(2))
        assert repr(first.prepare) == repr(second.prepare)
        assert "double" in repr(first.prepare)
        assert " at 0x" not in repr(first.prepare)
        copied = pickle.loads(pickle.dumps(first.prepare))
        assert_close(copied(torch.ones(2)), torch.full((2,), 2.0))

    def test_a_preparation_that_cannot_be_told_from_others_is_refused(self):
        factor = 3

        def local(sample):
            return sample * factor

        with pytest.raises(LayerwiseError, match="a memory address does not say what it does"):
            open_network(small(), prepare=local, modality="tensor")

    def test_a_preparation_of_this_library_says_what_a_sample_is(self):
        prepare = ImagePreparation((8, 8), None, "bilinear", HALF, HALF)
        network = open_network(nn.Conv2d(3, 4, 3), prepare=prepare)
        assert network.modality == "image"
        assert network.example.shape == (1, 3, 8, 8)

    def test_what_a_sample_is_must_be_said(self):
        with pytest.raises(LayerwiseError, match="add modality="):
            open_network(small(), prepare=Halve())
        with pytest.raises(LayerwiseError, match="needs prepare="):
            open_network(small(), modality="image")

    def test_a_preparation_that_fails_is_noticed_at_once(self):
        with pytest.raises(LayerwiseError, match=r"fail on an example \(image\): TypeError"):
            open_network(small(), prepare=Halve(), modality="image")

    def test_samples_of_different_shapes_give_one_line(self):
        network = open_network(small())
        with pytest.raises(LayerwiseError, match=r"different shapes, such as \[3\] and \[4\]"):
            network.batch([torch.ones(4), torch.ones(3)])

    def test_ones_own_collate_is_used(self):
        network = open_network(small(), collate=lambda prepared: torch.stack(prepared) + 1)
        assert network.batch([torch.zeros(4)]).tolist() == [[1.0] * 4]
