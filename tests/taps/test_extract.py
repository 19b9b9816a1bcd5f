import importlib.util
import json
import operator
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from layerwise.data import Samples, SetAside, Target, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.features import First, GeM, Last, Max, Mean, Store
from layerwise.models import Network
from layerwise.taps import extract, read
from layerwise.taps._columns import wanted
from layerwise.taps._pass import Clock, rows
from layerwise.taps._plan import Plan

KILLED = Path(__file__).with_name("killed.py")


class Number:
    """Turns an item of `numbered` into a small tensor; the number 13 cannot be read."""

    def __call__(self, item):
        if item == 13:
            raise Unreadable("13 is unlucky")
        if item == "nan":
            return torch.full((3, 8, 8), float("nan"))
        return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(item))


class Same:
    def __call__(self, sample):
        return sample

    def __repr__(self):
        return "Same()"


def numbered(items, targets=()):
    items = list(items)
    return Samples(
        modality="tensor",
        source="numbers",
        names=tuple(f"number {item}" for item in items),
        keys=tuple(f"key{item}" for item in items),
        items=tuple(items),
        loader=Number(),
        targets={target.name: target for target in targets},
    )


def convolutional(**changes):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 5, 3),
        nn.Flatten(),
        nn.Linear(80, 4),
    )
    return network_of(module.eval(), torch.zeros(1, 3, 8, 8), **changes)


def network_of(module, example, **changes):
    given = {
        "name": "tiny",
        "modality": "tensor",
        "prepare": Same(),
        "collate": torch.stack,
        "example": example,
    }
    return Network(module, **{**given, **changes})


def everything(store):
    """All bytes of a store by key and column."""
    keys = sorted(store.keys())
    columns = {c.name: store.load(c, keys).numpy().tobytes() for c in store.columns}
    labels = {name: str(store.values(name, keys)) for name in ("name", *store.targets)}
    return keys, columns, labels


class Stop:
    """Presses Ctrl-C after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def counted(network):
    """The sizes of the batches that go through a network from now on."""
    assert network.layers
    sizes = []
    network.module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


def test_the_store_holds_what_read_reads(tmp_path):
    network, samples = convolutional(), numbered(range(20, 30))
    done = extract(network, samples, tmp_path / "s.lance", layers="all", batch_size=4)
    assert (done.computed, done.reused, done.set_aside) == (10, 0, ())
    assert done.store.keys() == samples.keys
    whole = network.batch([samples.load(i) for i in range(10)])
    features = read(network, whole, "all")
    names = [column.name for column in done.store.columns]
    assert names == ["0:mean", "1:mean", "2:mean", "3:mean", "4:mean", "/:mean"]
    for column in done.store.columns:
        value = features[column.layer]
        expected = value if value.ndim == 2 else value.mean((2, 3))
        torch.testing.assert_close(done.store.load(column), expected)
    about = done.store.recipe.about
    assert (about["batch size"], about["data"], about["torch"]) == (
        "4",
        "numbers",
        torch.__version__,
    )
    assert 0 < done.forward + done.waiting < done.seconds
    assert not (done.store.path / "_layerwise" / "plan.json").exists()


def test_every_pooling_where_it_fits(tmp_path):
    network, samples = convolutional(), numbered(range(20, 26))
    poolings = [Mean(), Max(), GeM(), First(), Last()]
    done = extract(network, samples, tmp_path / "s.lance", layers="0,4", poolings=poolings)
    names = [column.name for column in done.store.columns]
    assert names == ["0:mean", "0:max", "0:gem", "4:mean"]
    assert done.store.recipe.about["batch size"] == "32"
    maps = read(network, network.batch([samples.load(i) for i in range(6)]), "0")["0"]
    torch.testing.assert_close(done.store.load("0:max"), maps.amax((2, 3)))
    cubes = maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
    torch.testing.assert_close(done.store.load("0:gem"), cubes)
    with pytest.raises(LayerwiseError, match="layer '0' is a map, and 'first' needs tokens; add"):
        extract(network, samples, tmp_path / "t.lance", layers="0", poolings=[First()])
    with pytest.raises(LayerwiseError, match="no pooling was asked for; give one such as Mean"):
        extract(network, samples, tmp_path / "t.lance", layers="0", poolings=[])
    assert not (tmp_path / "t.lance").exists()


def test_poolings_in_another_order_go_into_their_own_columns(tmp_path):
    network, path = convolutional(), tmp_path / "s.lance"
    whole = extract(network, numbered(range(20, 32)), tmp_path / "whole.lance", layers="0")
    extract(network, numbered(range(20, 26)), path, layers="0", poolings=[Mean(), Max()])
    done = extract(network, numbered(range(20, 32)), path, layers="0", poolings=[Max(), Mean()])
    assert done.computed == 6
    keys = whole.store.keys()
    torch.testing.assert_close(done.store.load("0:mean", keys), whole.store.load("0:mean"))


def test_a_second_run_computes_only_what_is_new(tmp_path):
    network, path = convolutional(), tmp_path / "s.lance"
    first = extract(network, numbered(range(20, 26)), path, layers="0", batch_size=4)
    sizes = counted(network)
    again = extract(network, numbered(range(20, 26)), path, layers="0", batch_size=4)
    assert (again.computed, again.reused, sizes) == (0, 6, [])
    assert everything(again.store) == everything(first.store)
    more = extract(network, numbered([31, *range(29, 19, -1), 30]), path, layers="0", batch_size=4)
    assert (more.computed, more.reused, sizes) == (6, 6, [4, 2])
    assert sorted(more.store.keys()) == [f"key{i}" for i in range(20, 32)]
    fewer = extract(network, numbered([40, 20, 41]), path, layers="0", batch_size=4, limit=2)
    assert (fewer.computed, fewer.reused, sizes) == (1, 1, [4, 2, 1])
    assert len(fewer.store) == 13


def test_other_targets_are_stored_without_computing_anything(tmp_path):
    network, path = convolutional(), tmp_path / "s.lance"
    blur = Target("blur", "number", torch.tensor([0.5, float("nan"), 2.0], dtype=torch.float64))
    first = extract(network, numbered([20, 21, 22], [blur]), path, layers="0")
    sizes = counted(network)
    kind = Target("kind", "class", torch.tensor([1, -1, 0]), classes=("kite", "wren"))
    blur = replace(blur, values=torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    samples = numbered([20, 21, 22], [blur, kind])
    extract(network, replace(samples, names=("a", "b", "c")), path, layers="0")
    store = Store.open(path)
    assert sizes == []
    assert store.values("blur").tolist() == [0.5, 1.0, 2.0]
    assert store.values("kind") == ("wren", None, "kite")
    assert store.values("name") == ("a", "b", "c")
    assert torch.equal(store.load("0:mean"), first.store.load("0:mean"))
    other = replace(kind, values=torch.tensor([0, 0]))
    extract(network, numbered([22, 23], [other]), path, layers="0")
    assert Store.open(path).values("kind", ["key20", "key22", "key23"]) == ("wren", "kite", "kite")
    assert torch.isnan(Store.open(path).values("blur", ["key23"])).all()


def test_unreadable_samples_are_set_aside_by_name_in_every_run(tmp_path):
    network, path = convolutional(), tmp_path / "s.lance"
    for reused in (0, 7):
        done = extract(network, numbered(range(10, 18)), path, layers="0", batch_size=3)
        assert done.set_aside == (SetAside("number 13", "13 is unlucky"),)
        assert (done.computed, done.reused) == (7 - reused, reused)


class SometimesNaN(nn.Module):
    """Gives NaN where the first pixel is large, and infinity for all where it is told to."""

    def __init__(self, always=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.always = always

    def forward(self, x):
        bad = x[:, :1, :1, :1] > (-1e9 if self.always else 1.0)
        return self.second(torch.where(bad, float("inf"), self.first(x)))


def test_samples_with_nan_are_set_aside_with_the_layer(tmp_path):
    torch.manual_seed(0)
    network = network_of(SometimesNaN().eval(), torch.zeros(1, 3, 8, 8))
    samples = numbered([*range(20, 40), 13])
    bad = {i for i in range(20) if samples.load(i)[0, 0, 0] > 1.0}
    assert 0 < len(bad) < 10
    for _ in range(2):
        done = extract(network, samples, tmp_path / "s.lance", layers="first,second", batch_size=4)
        reasons = {aside.name: aside.reason for aside in done.set_aside}
        assert reasons.pop("number 13") == "13 is unlucky"
        assert set(reasons) == {samples.names[i] for i in bad}
        assert set(reasons.values()) == {"layer 'second' gives NaN or infinite values"}
        assert len(done.store) == 20 - len(bad)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_network_that_gives_nan_for_everything_stops_with_its_first_such_layer(
    tmp_path, batch_size
):
    network = network_of(SometimesNaN(always=True).eval(), torch.zeros(1, 3, 8, 8))
    sizes = counted(network)
    words = "layer 'second' and what follows give NaN or infinite values for every one of the first"
    with pytest.raises(LayerwiseError, match=words):
        extract(
            network,
            numbered(range(20, 90)),
            tmp_path / "s.lance",
            layers="all",
            batch_size=batch_size,
        )
    assert sum(sizes) <= 32
    assert len(Store.open(tmp_path / "s.lance")) == 0


def test_values_too_large_for_float16(tmp_path):
    network = convolutional()
    samples = numbered(range(20, 30))
    half = extract(network, samples, tmp_path / "half.lance", layers="0", dtype="float16")
    whole = extract(network, samples, tmp_path / "whole.lance", layers="0")
    assert torch.equal(half.store.load("0:mean"), whole.store.load("0:mean").half())
    with torch.no_grad():
        network.module[2].weight *= 1e6
    again = network_of(network.module, network.example)
    words = r"layer '2' \(mean\) reaches \S+, more than float16 holds; take dtype='float32'"
    with pytest.raises(LayerwiseError, match=words):
        extract(again, samples, tmp_path / "large.lance", layers="0,2", dtype="float16")
    extract(again, samples, tmp_path / "large.lance", layers="0,2")


def test_what_was_made_differently_is_refused(tmp_path):
    path, samples = tmp_path / "s.lance", numbered(range(20, 24))
    extract(convolutional(), samples, path, layers="0")
    other = convolutional()
    with torch.no_grad():
        other.module[2].bias += 1e-6
    cases = [
        (other, {"layers": "0"}, "other weights"),
        (convolutional(prepare=Mean()), {"layers": "0"}, "another preparation .there Same"),
        (convolutional(), {"layers": "0,2"}, "without 2 .mean."),
        (convolutional(), {"layers": "2"}, "without 2 .mean.; with 0 .mean. besides"),
        (convolutional(), {"layers": "0", "poolings": [Max()]}, "without 0 .max."),
        (convolutional(), {"layers": "0", "dtype": "float16"}, "another type of number"),
    ]
    for network, options, words in cases:
        with pytest.raises(LayerwiseError, match=f"made differently: {words}"):
            extract(network, samples, path, **options)
    with pytest.raises(LayerwiseError, match="no layer is called '00'; nearest: 0"):
        extract(convolutional(), samples, path, layers="00")
    with pytest.raises(
        LayerwiseError, match="tiny takes samples of the kind 'text', and 'numbers'"
    ):
        extract(convolutional(modality="text"), samples, path, layers="0")
    with pytest.raises(LayerwiseError, match="batch_size=0; it must be at least 1"):
        extract(convolutional(), samples, path, layers="0", batch_size=0)
    assert extract(convolutional(), samples, path, layers="0").reused == 4


def test_a_preparation_without_a_lasting_name_can_be_resumed(tmp_path):
    for reused in (0, 4):
        network = convolutional(prepare=lambda sample: sample)
        done = extract(network, numbered(range(20, 24)), tmp_path / "s.lance", layers="0")
        assert done.reused == reused


def test_nobody_else_may_write_meanwhile(tmp_path):
    samples = numbered(range(20, 24))
    store = extract(convolutional(), samples, tmp_path / "s.lance", layers="0").store
    with store.writing(), pytest.raises(LayerwiseError, match="is writing to the store"):
        extract(convolutional(), samples, tmp_path / "s.lance", layers="0")


@pytest.mark.parametrize("stops", [(1,), (3, 1, 4), (2, 2, 2, 2, 2)])
def test_ctrl_c_keeps_what_is_done_and_the_rest_comes_out_the_same(tmp_path, stops):
    network, samples = convolutional(), numbered([*range(20, 60), 13, *range(60, 80), "nan"])
    options = {"layers": "all", "batch_size": 3}
    whole = extract(network, samples, tmp_path / "whole.lance", **options)
    path, kept = tmp_path / "s.lance", 0
    for batches in stops:
        words = r"stopped after \d+ of 62 samples, which are kept in .*; run the same command again"
        with pytest.raises(KeyboardInterrupt, match=words):
            extract(network, samples, path, progress=Stop(batches), commit_rows=7, **options)
        assert len(Store.open(path)) > kept or batches == 1
        kept = len(Store.open(path))
    done = extract(network, samples, path, **options)
    assert done.reused == kept
    assert everything(done.store) == everything(whole.store)
    assert done.set_aside == whole.set_aside
    assert [aside.name for aside in done.set_aside] == ["number 13", "number nan"]


def test_pictures_that_are_added_after_an_interruption(tmp_path):
    network, path = convolutional(), tmp_path / "s.lance"
    options = {"layers": "0", "batch_size": 4}
    with pytest.raises(KeyboardInterrupt):
        extract(network, numbered(range(20, 40)), path, progress=Stop(3), **options)
    sizes = counted(network)
    done = extract(network, numbered(range(14, 46)), path, **options)
    assert sizes == [4] * (2 + 3)  # the rest of the plan, then what it lacks
    assert sorted(done.store.keys()) == [f"key{i}" for i in range(14, 46)]
    whole = extract(network, numbered(range(20, 40)), tmp_path / "whole.lance", **options)
    keys = sorted(whole.store.keys())
    assert torch.equal(done.store.load("0:mean", keys), whole.store.load("0:mean", keys))


@pytest.mark.parametrize(("items", "batch_size"), [(range(20, 40), 5), (range(24, 40), 4)])
def test_a_plan_that_no_longer_serves_is_replaced(tmp_path, items, batch_size):
    network, path = convolutional(), tmp_path / "s.lance"
    with pytest.raises(KeyboardInterrupt):
        extract(network, numbered(range(20, 40)), path, layers="0", batch_size=4, progress=Stop(3))
    there = set(Store.open(path).keys())
    done = extract(network, numbered(items), path, layers="0", batch_size=batch_size)
    assert set(done.store.keys()) == there | {f"key{i}" for i in items}


def test_a_plan_says_what_is_done(tmp_path):
    plan = replace(Plan.of(list("abcdefg"), 2), set_aside={"b": "torn", "f": "told too early"})
    plan.write(tmp_path)
    again = Plan.read(tmp_path).after({"a", "d", "z"})
    assert again.batches == (("a", "b"), ("c", "d"), ("e", "f"), ("g",))
    assert again.left == (("e", "f"), ("g",))
    assert again.set_aside == {"b": "torn", "c": "set aside in an earlier run"}
    assert again.after(set()).left == plan.batches
    for text in ("", "[]", '{"format": 9, "batch_size": 2, "batches": [], "set_aside": {}}'):
        (tmp_path / "plan.json").write_text(text)
        assert Plan.read(tmp_path) is None
    Plan.remove(tmp_path)
    Plan.remove(tmp_path)
    assert Plan.read(tmp_path) is None


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.batches = 0

    def forward(self, x):
        self.batches += len(x) == 4
        if self.batches == 3:
            raise IndexError("index 99 is out\nof range")
        return self.first(x)


def test_a_forward_that_fails_is_told_with_its_batch_and_keeps_the_rest(tmp_path):
    torch.manual_seed(0)
    module = Fails().eval()
    network, samples = network_of(module, torch.zeros(1, 3, 8, 8)), numbered(range(20, 40))
    assert network.layers
    state, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    module.train()
    module.batches = 0
    words = (
        "tiny fails on the batch 'number 28' to 'number 31': IndexError: index 99 is out of range"
    )
    with pytest.raises(LayerwiseError, match=words):
        extract(network, samples, tmp_path / "s.lance", layers="first,.", batch_size=4)
    assert Store.open(tmp_path / "s.lance").keys() == samples.keys[:4]
    assert not module.first._forward_hooks
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy).all()
    assert (
        extract(network, samples, tmp_path / "s.lance", layers="first,.", batch_size=4).reused == 4
    )


def test_samples_of_unequal_shape_are_one_clear_line(tmp_path):
    network = convolutional(prepare=Cut())
    with pytest.raises(
        LayerwiseError, match=r"tiny fails on the batch .* stack expects each tensor"
    ):
        extract(network, numbered(range(20, 24)), tmp_path / "s.lance", layers="0")


class Cut:
    def __call__(self, sample):
        return sample[:, : 4 + int(sample[0, 0, 0] > 0)]

    def __repr__(self):
        return "Cut()"


class Words:
    """Numbers for the words of a text."""

    def __call__(self, text):
        ids = [1 + zlib.crc32(word.encode()) % 90 for word in text.split()]
        return {"input_ids": torch.tensor(ids[:10]), "truncated": len(ids) > 10}

    def __repr__(self):
        return "Words()"


def padded(prepared):
    ids = [sample["input_ids"] for sample in prepared]
    mask = [torch.ones(len(each), dtype=torch.long) for each in ids]
    pad = nn.utils.rnn.pad_sequence
    return {"input_ids": pad(ids, True), "attention_mask": pad(mask, True)}


def text_network(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        config = transformers.BertConfig(**small, intermediate_size=32)
        module = transformers.BertModel(config, add_pooling_layer=False)
    else:
        config = transformers.LlamaConfig(**small, intermediate_size=32, num_key_value_heads=2)
        module = transformers.LlamaModel(config)
    example = padded([Words()("one two three four five")])
    changes = {"modality": "text", "prepare": Words(), "collate": padded}
    return network_of(module.eval(), example, **changes)


TEXTS = ["a b c d e f g h", "a", "b c d", "e f", "g h i j k l m n o p q", "q r s t", "u v", "w x y"]


def texts():
    keys = tuple(f"text {i}" for i in range(len(TEXTS)))
    return Samples("text", "texts", keys, keys, tuple(TEXTS), Same())


@pytest.mark.parametrize(
    ("kind", "pooling", "place"), [("bert", "first", 0), ("llama", "last", -1)]
)
def test_texts_are_sorted_by_length_and_pooled_where_the_network_has_seen_all(
    tmp_path, kind, pooling, place
):
    network = text_network(kind)
    done = extract(network, texts(), tmp_path / "s.lance", batch_size=3)
    assert {column.pooling for column in done.store.columns} == {"mean", pooling}
    assert done.truncated == ("text 4",)
    keys = done.store.keys()
    lengths = [len(TEXTS[int(key.split()[1])]) for key in keys]
    assert lengths == sorted(lengths, reverse=True)
    last = network.layers.select("blocks")[-1].name
    for index, text in enumerate(TEXTS):  # alone, so that nothing is padded
        tokens = read(network, network.batch([Words()(text)]), last)[last][0]
        for name, expected in (("mean", tokens.mean(0)), (pooling, tokens[place])):
            column = next(c for c in done.store.columns if (c.layer, c.pooling) == (last, name))
            stored = done.store.load(column, [f"text {index}"])[0]
            torch.testing.assert_close(stored, expected, rtol=1e-4, atol=1e-5)


def test_a_class_token_is_pooled_besides_the_mean_of_the_places():
    timm = pytest.importorskip("timm")
    module = timm.create_model("test_vit", img_size=64).eval()
    network = network_of(module, torch.zeros(1, 3, 64, 64))
    choice = wanted(network, "blocks", None)
    assert {c.pooling for c in choice.columns if c.layer == "blocks.0"} == {"mean", "first"}
    assert "1 prefix" in next(c.layout for c in choice.columns if c.layer == "blocks.0")


def test_workers_change_no_byte(tmp_path):
    network, samples = convolutional(), numbered(range(10, 50))
    here = extract(network, samples, tmp_path / "0.lance", layers="all", workers=0, batch_size=4)
    there = extract(
        network,
        replace(
            samples, loader=operator.methodcaller("clone"), items=tuple(map(given, samples.items))
        ),
        tmp_path / "2.lance",
        layers="all",
        workers=2,
        batch_size=4,
    )
    assert everything(there.store) == everything(here.store)
    assert [aside.name for aside in there.set_aside] == ["number 13"]


def given(item):
    return "no tensor" if item == 13 else Number()(item)


def test_decoding_and_computing_are_timed_apart():
    clock, network, samples = Clock(), convolutional(), numbered(range(11, 16))
    computed = rows(
        network, samples, [[0, 1], [2], [3, 4]], {"0": (Mean(),)}, workers=0, clock=clock
    )
    found = list(computed)
    assert [each.batch.indices for each in found] == [(0, 1), (), (3, 4)]
    assert [each.values.shape for each in found] == [(2, 6), (0, 0), (2, 6)]
    assert clock.waiting > 0
    assert clock.forward > 0


def test_a_disk_that_fills_up_keeps_what_was_committed(small_disk, tmp_path):
    network, samples = convolutional(), numbered(range(20, 420))
    options = {"layers": "all", "batch_size": 16, "commit_rows": 64}
    with pytest.raises(LayerwiseError, match=r"no space left on the device of .*: free some space"):
        extract(network, samples, small_disk / "s.lance", **options)
    kept = len(Store.open(small_disk / "s.lance"))
    assert 0 < kept < 400
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    done = extract(network, samples, small_disk / "s.lance", **options)
    assert done.reused == kept
    whole = extract(network, samples, tmp_path / "whole.lance", **options)
    assert everything(done.store) == everything(whole.store)


@pytest.fixture
def small_disk(tmp_path_factory):
    """A real disk of 128 KB, where this system lets us mount one."""
    path = tmp_path_factory.mktemp("small")
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def pictures(folder):
    """Two hundred small pictures in two classes, four of them broken."""
    draw = np.random.default_rng(0)
    for number in range(200):
        path = folder / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)
        if number in (3, 50, 51, 199):
            path.write_bytes(b"broken %d" % number)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs fork and kill")
def test_killed_thirty_times_the_features_are_those_of_an_uninterrupted_run(tmp_path):
    pictures(tmp_path / "pictures")
    command = [sys.executable, str(KILLED), str(tmp_path / "pictures"), str(tmp_path), "30", "0"]
    root = Path(importlib.util.find_spec("layerwise").origin).parents[1]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert sum(found["kills"].values()) >= 30
    assert min(found["kills"].values()) >= 4
    whole = everything(Store.open(tmp_path / "whole.lance"))
    aside = json.loads((tmp_path / "whole.lance.json").read_text())
    assert len(whole[0]) == len(set(whole[0])) == 196
    assert set(aside) == {"a/050.png", "b/003.png", "b/051.png", "b/199.png"}
    assert found["stores"] >= 3
    for number in range(found["stores"]):
        store = Store.open(tmp_path / f"{number}.lance")
        assert len(store) == 196
        assert everything(store) == whole
        assert json.loads((tmp_path / f"{number}.lance.json").read_text()) == aside
        assert len(lance.dataset(str(store.path)).get_fragments()) == 1
        assert not (store.path / "_layerwise" / "plan.json").exists()
