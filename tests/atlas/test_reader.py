"""A reader answers as the whole network with its head would, honestly, and comes back from disk."""

from __future__ import annotations

import copy
import dataclasses
import json
import re

import pytest
import sklearn.linear_model
import torch
from torch import Tensor, nn

import layerwise
from layerwise import atlas, data
from layerwise.atlas import _heads, _sides, fit_reader, load_reader, save_reader
from layerwise.atlas._affine import combined, fusion_named
from layerwise.atlas._calibrate import calibration_error, conformal, temperature_of
from layerwise.errors import LayerwiseError
from layerwise.features import Mean, _store
from layerwise.fuse import FirstLast, Greedy, WeightedSum
from layerwise.search import Logistic
from layerwise.taps import extract, pool
from networks import tiny_bert, tiny_clip, tiny_siglip


def own_module() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 700))


@pytest.fixture(scope="module")
def network() -> layerwise.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = own_module()
    return layerwise.open(module.eval(), example=torch.zeros(1, 6), name="own")


@pytest.fixture(scope="module")
def samples() -> data.Samples:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 6, generator=generator)
    noise = 0.7 * torch.randn(400, generator=generator)
    sums = rows[:, 0] + rows[:, 1] + noise
    sides = torch.bucketize(sums, torch.tensor([-0.8, 0.8])).tolist()
    pairs = zip(rows, sides, sums.tolist(), strict=True)
    return data.open([(x, {"side": "abc"[s], "sum": float(y)}) for x, s, y in pairs])


@pytest.fixture(scope="module")
def reader(network, samples) -> atlas.Reader:
    return fit_reader(network, samples, "side", layers="1")


def test_it_answers_as_the_whole_network_with_the_same_head(network, samples, reader):
    found = reader.predict(samples)
    inputs = torch.stack([samples.load(i) for i in range(len(samples))])
    features = pool(network, inputs, "1", [Mean()])["1", "mean"]
    divided = data.split(samples, "side", seed=0)
    labels = samples.targets["side"].values
    logistic = Logistic.fit(
        features[divided.train], labels[divided.train], penalties=(reader.facts.setting,)
    )
    wanted = (logistic(features)[0] / reader.bounds[0]).softmax(1)
    torch.testing.assert_close(found.values, wanted, rtol=1e-3, atol=1e-4)
    right = found.values.argmax(1)[divided.test] == labels[divided.test]
    assert reader.facts.quality.score == pytest.approx(float(right.double().mean()))
    assert found.classes == ("a", "b", "c")
    assert found.labels[0] == found.classes[int(found.values[0].argmax())]


def test_the_rest_of_the_network_is_gone(network, reader):
    assert reader.facts.gone == ("2", "3", "4")
    assert reader.facts.parameters == (sum(p.numel() for p in network.module.parameters()), 56)
    assert sum(p.numel() for p in reader.cut.parameters()) == 56


def test_probabilities_are_more_honest_after_the_temperature(samples, reader):
    before, after = reader.facts.quality.calibration
    assert reader.facts.quality.chance < 0.5 < reader.facts.quality.score
    found = reader.predict(samples.take(data.split(samples, "side", seed=0).test.tolist()))
    labels = torch.tensor(
        [
            found.classes.index("abc"[int(v)])
            for v in samples.targets["side"].values[data.split(samples, "side", seed=0).test]
        ]
    )
    assert after == pytest.approx(calibration_error(found.values, labels), abs=1e-6)
    assert max(before, after) < 0.25


def test_intervals_hold_for_about_as_many_as_they_say(network, samples):
    held = []
    for seed in range(4):
        reader = fit_reader(network, samples, "sum", layers="1", level=0.8, seed=seed)
        found = reader.predict(samples)
        rows = list(found.rows("sum"))
        assert rows[0]["high"] - rows[0]["low"] == pytest.approx(2 * found.margin)
        held.append(reader.facts.quality.covered)
        assert reader.facts.quality.metric == "R2"
    assert abs(sum(held) / 4 - 0.8) < 0.1


def test_samples_of_another_kind_are_called_unfamiliar(samples, reader):
    strangers = data.open(torch.randn(50, 6) * 20)
    assert reader.predict(samples).unfamiliar.double().mean() < 0.12
    assert reader.facts.quality.alarms < 0.15
    assert reader.predict(strangers).unfamiliar.double().mean() > 0.8


@pytest.mark.parametrize("readout", ["linear", "ridge", "nearest-mean", "knn"])
@pytest.mark.parametrize("target", ["side", "sum"])
def test_every_readout_comes_back_from_disk(network, samples, target, readout, tmp_path):
    if (target, readout) == ("sum", "nearest-mean"):
        with pytest.raises(LayerwiseError, match="reads classes, and this target is a quantity"):
            fit_reader(network, samples, target, layers="1", readout=readout)
        return
    fitted = fit_reader(network, samples, target, layers="1, 3", readout=readout)
    require_same_from_disk(fitted, samples, tmp_path)
    assert fitted.facts.quality.score > fitted.facts.quality.chance + 0.1


@pytest.mark.parametrize("fusion", [Greedy, WeightedSum, FirstLast])
def test_every_fusion_comes_back_from_disk(network, samples, fusion, tmp_path):
    fitted = fit_reader(network, samples, "side", layers="0, 1, 3", fusion=fusion)
    require_same_from_disk(fitted, samples, tmp_path)
    assert fitted.facts.fusion == fusion.__name__
    assert fitted.facts.quality.score > 0.5


def require_same_from_disk(fitted: atlas.Reader, samples: data.Samples, folder) -> None:
    save_reader(fitted, folder)
    again = load_reader(folder, module=own_module())
    first, second = fitted.predict(samples), again.predict(samples)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.strangeness, second.strangeness)
    assert again.facts == fitted.facts
    assert (folder / "README.md").read_text().startswith(f"# Reads {fitted.facts.target}")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "reader.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("kind", [Greedy, WeightedSum, FirstLast])
@pytest.mark.parametrize("widths", [(5, 5, 5), (3, 5, 5)])
def test_a_fusion_is_one_map_of_its_layers_side_by_side(kind, widths):
    generator = torch.Generator().manual_seed(1)
    layers = {
        name: torch.randn(60, width, generator=generator)
        for name, width in zip("abc", widths, strict=True)
    }
    if kind is FirstLast:
        layers["a"] = layers["c"] + 1
    targets = layers["b"][:, :1] + layers["c"][:, :1]
    names, whole = combined(kind, layers, targets)
    own = kind.fit(layers) if kind is FirstLast else kind.fit(layers, targets)
    together = whole(torch.cat([layers[name] for name in names], 1))
    torch.testing.assert_close(together, own(layers), rtol=1e-4, atol=1e-4)


def test_pictures_and_their_preparation_come_back_without_the_network(tmp_path):
    network = layerwise.open("random:timm:mobilenetv3_small_050")
    samples = data.open("photos", limit=40, targets=["rotation"])
    fitted = fit_reader(network, samples, "rotation", layers="blocks.1.0")
    save_reader(fitted, tmp_path)
    again = load_reader(tmp_path)
    few = samples.take(range(5))
    inputs = fitted.batch([fitted.feed.prepare(few.load(i)) for i in range(5)])
    with torch.no_grad():
        torch.testing.assert_close(fitted.predict(few).values, fitted(inputs)[0])
    assert torch.equal(fitted.predict(few).values, again.predict(few).values)
    assert again.feed.prepare == network.prepare
    assert "blocks.2" in again.facts.gone
    size = (tmp_path / "weights.safetensors").stat().st_size
    assert size < fitted.facts.bytes[0] / 4


def test_pictures_of_every_mode_are_answered_and_broken_ones_set_aside(tmp_path):
    network = layerwise.open("random:timm:mobilenetv3_small_050")
    samples = data.open("photos", limit=40, targets=["rotation"])
    reader = fit_reader(network, samples, "rotation", layers="blocks.0.0")
    picture = samples.load(0).convert("RGB")
    modes = {"1": "png", "L": "png", "LA": "png", "P": "png", "RGBA": "png", "CMYK": "jpg"}
    modes |= {"I;16": "png", "RGB": "jpg"}
    for mode, suffix in modes.items():
        grey = picture.convert("L") if mode == "I;16" else picture
        grey.convert(mode).save(tmp_path / f"{mode.replace(';', '')}.{suffix}")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = reader.predict(data.open(str(tmp_path)))
    assert len(found) == len(modes)
    assert [aside.name for aside in found.set_aside] == ["broken.png"]
    assert bool(found.values.isfinite().all())
    rows = dict(zip(found.names, found.values, strict=True))
    torch.testing.assert_close(rows["RGBA.png"], rows["RGB.jpg"], atol=0.05, rtol=0)


def test_texts_and_their_tokenizer_come_back(tmp_path):
    network = layerwise.open(f"hf:{tiny_bert(tmp_path / 'bert')}")
    texts = [f"{'red' if i % 2 else 'green'} {'apple ' * (1 + i % 5)}" for i in range(60)]
    samples = data.open([(t, {"colour": t.split()[0]}) for t in texts])
    fitted = fit_reader(network, samples, "colour", layers="encoder.layer.0")
    save_reader(fitted, tmp_path / "reader")
    again = load_reader(tmp_path / "reader")
    long = data.open([*texts[:3], "red " * 40, "unknown words"])
    first, second = fitted.predict(long), again.predict(long)
    assert torch.equal(first.values, second.values)
    assert first.truncated == second.truncated == ("item 3",)
    assert fitted.facts.quality.score == 1


@pytest.mark.parametrize("layer", ["joint", "both.text_model.encoder.layers.0"])
@pytest.mark.parametrize("make", [tiny_clip, tiny_siglip])
def test_one_side_of_a_network_of_pictures_and_texts_comes_back_alone(make, layer, tmp_path):
    network = layerwise.open(f"hf:{make(tmp_path / 'both')}#text")
    texts = [f"{'red' if i % 2 else 'green'} {'apple ' * (1 + i % 5)}" for i in range(60)]
    samples = data.open([(t, {"colour": t.split()[0]}) for t in texts])
    fitted = fit_reader(network, samples, "colour", layers=layer)
    assert fitted.facts.note == ""
    assert "both.vision_model" in fitted.facts.gone
    save_reader(fitted, tmp_path / "reader")
    again = load_reader(tmp_path / "reader")
    assert not any("vision" in name for name, _ in again.named_parameters())
    assert torch.equal(fitted.predict(samples).values, again.predict(samples).values)


@pytest.mark.parametrize("readout", ["linear", "ridge", "nearest-mean", "knn"])
def test_rows_that_flow_by_give_what_rows_in_memory_give(
    network, samples, readout, tmp_path, monkeypatch
):
    """Seven rows at a time, and never all of them together."""
    wanted = fit_reader(network, samples, "side", layers="1, 3", readout=readout)
    monkeypatch.setattr(_store, "rows_at_once", lambda _: 7)
    monkeypatch.setattr(_sides.Stored, "whole", lambda _: pytest.fail("all rows at once"))
    monkeypatch.setattr(_heads, "MAKERS", (_heads.Linear(held=0), *_heads.MAKERS[1:]))
    done = extract(network, samples, tmp_path / "rows.lance", layers="1, 3")
    found = fit_reader(network, samples, "side", layers="1, 3", readout=readout, extraction=done)
    one, other = wanted.predict(samples), found.predict(samples)
    torch.testing.assert_close(one.values, other.values, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.strangeness, other.strangeness, rtol=1e-3, atol=1e-4)
    assert found.facts.quality.score == pytest.approx(wanted.facts.quality.score, abs=0.02)


def test_many_rows_of_a_quantity_are_added_up(network, samples, monkeypatch):
    wanted = fit_reader(network, samples, "sum", layers="1", readout="ridge")
    monkeypatch.setattr(_heads, "MAKERS", (_heads.Linear(held=0),))
    found = fit_reader(network, samples, "sum", layers="1")
    assert torch.equal(found.head.weight, wanted.head.weight)
    assert found.facts.setting == wanted.facts.setting


def test_ridge_agrees_with_scikit_learn(network, samples):
    reader = fit_reader(network, samples, "sum", layers="1", readout="ridge")
    inputs = torch.stack([samples.load(i) for i in range(len(samples))])
    features = pool(network, inputs, "1", [Mean()])["1", "mean"].double().numpy()
    divided = data.split(samples, "sum", seed=0)
    train, values = divided.train.numpy(), samples.targets["sum"].values.numpy()
    deviation = features[train].std(0)
    oracle = sklearn.linear_model.Ridge(alpha=reader.facts.setting)
    oracle.fit(features[train] / deviation, values[train])
    wanted = torch.from_numpy(oracle.predict(features / deviation)).float()
    torch.testing.assert_close(reader.predict(samples).values[:, 0], wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("shots", "readout"),
    [(1, "linear"), (5, "linear"), (20, "linear"), (1, "ridge"), (1, "nearest-mean"), (1, "knn")],
)
def test_few_samples_of_each_class_fit_and_the_test_side_stays(network, samples, shots, readout):
    reader = fit_reader(network, samples, "side", layers="1", readout=readout, shots=shots)
    whole = data.split(samples, "side", seed=0)
    facts = reader.facts
    assert facts.samples == (3 * shots, 3 * min(shots, 20), len(whole.test))
    low, high = facts.quality.draws
    assert 0.3 < low < high < 1
    assert facts.quality.low <= facts.quality.score <= facts.quality.high
    assert facts.shots == shots
    answers = reader.predict(samples)
    assert bool(answers.values.isfinite().all())
    right = torch.tensor(
        [
            label == "abc"[int(v)]
            for label, v in zip(answers.labels, samples.targets["side"].values, strict=True)
        ]
    )
    assert facts.quality.score == pytest.approx(float(right[whole.test].double().mean()))


def test_more_shots_score_higher_over_all_draws(network, samples):
    one, twenty = (
        fit_reader(network, samples, "side", layers="1", shots=shots).facts.quality.draws
        for shots in (1, 20)
    )
    assert sum(one) + 0.1 < sum(twenty)


def test_few_groups_are_said_to_say_little(network, samples, tmp_path):
    columns = {}
    for many in (12, 100):
        target = dataclasses.replace(
            samples.targets["side"], groups=tuple(str(i % many) for i in range(len(samples)))
        )
        grouped = dataclasses.replace(samples, targets={"side": target})
        reader = fit_reader(network, grouped, "side", layers="1")
        save_reader(reader, tmp_path)
        columns[many] = (tmp_path / "README.md").read_text()
    assert re.search("come from [23] groups only: the interval says little", columns[12])
    assert "says little" not in columns[100]


def test_five_samples_of_each_class_in_all_leave_a_wide_interval(network, samples):
    labels = samples.targets["side"].values
    rows = [i for k in range(3) for i in (labels == k).nonzero().flatten()[:5].tolist()]
    facts = fit_reader(network, samples.take(rows), "side", layers="1").facts
    assert facts.samples[2] == 3
    assert facts.quality.high - facts.quality.low > 0.3
    with pytest.raises(LayerwiseError, match="counts samples of a class, and 'sum' is a quantity"):
        fit_reader(network, samples, "sum", layers="1", shots=5)
    with pytest.raises(LayerwiseError, match="shots=0; give 1 or more"):
        fit_reader(network, samples, "side", layers="1", shots=0)


def damaged(folder, change) -> str:
    change(folder)
    with pytest.raises(LayerwiseError) as caught:
        load_reader(folder, module=own_module())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _edit(name: str, before: str, after: str):
    def change(folder) -> None:
        path = folder / name
        path.write_text(path.read_text().replace(before, after))

    return change


def _flip(folder) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_flip, "weights.safetensors was changed"),
        (lambda f: (f / "weights.safetensors").unlink(), "is not whole: weights.safetensors"),
        (lambda f: (f / "reader.json").unlink(), "is no reader: reader.json cannot be read"),
        (lambda f: (f / "reader.json").write_text("{"), "reader.json is no JSON"),
        (lambda f: (f / "reader.json").write_text("[1]"), "does not say its format"),
        (_edit("reader.json", '"format": 1', '"format": 2'), "has format 2, and this layerwise"),
        (_edit("reader.json", '"accuracy"', '"excellence"'), "reader.json was changed"),
    ],
)
def test_a_folder_that_was_meddled_with_is_refused(reader, tmp_path, change, says):
    save_reader(reader, tmp_path)
    assert says in damaged(tmp_path, change)


def test_what_only_the_caller_has_is_asked_for(reader, tmp_path, network, samples):
    save_reader(reader, tmp_path)
    with pytest.raises(LayerwiseError, match=r"a module of your own.*module="):
        load_reader(tmp_path)
    with pytest.raises(LayerwiseError, match="do not fit"):
        load_reader(tmp_path, module=nn.Sequential(nn.Linear(7, 8), nn.Tanh(), *[nn.Tanh()] * 3))
    own = layerwise.open(
        network.module, example=torch.zeros(1, 6), prepare=doubled, modality="tensor"
    )
    save_reader(fit_reader(own, samples, "side", layers="1"), tmp_path / "own")
    with pytest.raises(LayerwiseError, match=r"a preparation of your own.*prepare="):
        load_reader(tmp_path / "own", module=own_module())
    again = load_reader(tmp_path / "own", module=own_module(), prepare=doubled)
    assert len(again.predict(samples)) == len(samples)


def doubled(sample: Tensor) -> Tensor:
    return 2 * sample


def test_another_module_that_only_looks_the_same_is_noticed(reader, tmp_path):
    save_reader(reader, tmp_path)
    other = own_module()
    other[1] = nn.ReLU()
    with pytest.raises(LayerwiseError, match="answers otherwise than when it was saved"):
        load_reader(tmp_path, module=other)


def test_mistakes_are_one_line_each(network, samples, reader):
    for options, says in (
        ({"target": "sise"}, "no target is called 'sise'; nearest: side"),
        ({"readout": "linaer"}, "no readout is called 'linaer'; nearest: linear"),
        ({"layers": "9"}, "no layer is called '9'"),
        ({"fusion": Greedy}, "1 layer cannot be combined"),
        ({"level": 2.0}, "level=2.0; give a share"),
    ):
        given = {"target": "side", "layers": "1", **options}
        with pytest.raises(LayerwiseError) as caught:
            fit_reader(network, samples, given.pop("target"), **given)
        assert says in str(caught.value)
    with pytest.raises(LayerwiseError, match="takes samples of the kind 'tensor'"):
        reader.predict(data.open(["a text"]))
    with pytest.raises(LayerwiseError, match="the batch is empty"):
        reader.batch([])
    with pytest.raises(LayerwiseError, match="holds no sample"):
        reader.predict(samples.take([]))
    with pytest.raises(LayerwiseError, match="nearest: first-last"):
        fusion_named("first-lost")


def test_unsound_samples_are_set_aside(reader):
    rows = torch.randn(20, 6)
    rows[3] = torch.nan
    found = reader.predict(data.open(rows), batch_size=4)
    assert len(found) == 19
    (aside,) = found.set_aside
    assert (aside.name, aside.reason) == ("row 3", "the network gives NaN or infinity for it")


def test_the_reader_leaves_everything_as_it_was(network, samples, reader):
    state = copy.deepcopy(network.module.state_dict())
    random = torch.get_rng_state()
    reader.predict(samples)
    assert all(
        torch.equal(state[name], value) for name, value in network.module.state_dict().items()
    )
    assert torch.equal(random, torch.get_rng_state())
    assert not reader.training


def test_calibration_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 4, generator=generator)
    labels = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    assert temperature_of(3 * logits, labels) == pytest.approx(3, rel=0.1)
    assert calibration_error(logits.softmax(1), labels) < 0.03
    sure = temperature_of(
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(20, 1), labels=torch.arange(40) % 2
    )
    assert 0.9 < (torch.tensor([1.0, 0.0]) / sure).softmax(0)[0] < 1
    assert calibration_error((3 * logits).softmax(1), labels) > 0.1
    assert conformal(torch.arange(1.0, 20.0), 0.9) == 18
    assert conformal(torch.tensor([1.0, 2.0]), 0.99) == 2


def test_the_card_holds_the_facts(reader, tmp_path):
    save_reader(reader, tmp_path)
    card = (tmp_path / "README.md").read_text()
    facts = reader.facts
    for fact in (
        f"{facts.quality.score:.3f}",
        "`1` (mean) of own",
        facts.weights_sha256,
        "a, b, c",
    ):
        assert fact in card
    assert json.loads((tmp_path / "reader.json").read_text())["facts"]["target"] == "side"
