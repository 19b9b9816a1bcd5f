"""Weights come out of files as tensors or not at all, and what does not fit is named."""

from __future__ import annotations

import contextlib
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._checkpoint import head_size, load_weights, read_weights, tensors_only


class Bomb:
    """Would set a mark when unpickled."""

    def __reduce__(self):
        return (exec, ("import os; os.environ['BOMB'] = 'exploded'",))


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("nested", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_state_dict_is_found_inside_a_training_checkpoint(tmp_path, nested, prefix):
    saved = {prefix + name: value for name, value in network().state_dict().items()}
    content = saved if nested is None else {nested: saved, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "a.pt")
    module = network()
    load_weights(module, read_weights(tmp_path / "a.pt"), source="a.pt")
    for name, value in module.state_dict().items():
        assert torch.equal(value, saved[prefix + name])


def test_safetensors_are_read(tmp_path):
    saved = network().state_dict()
    save_file(saved, tmp_path / "a.safetensors")
    found = read_weights(tmp_path / "a.safetensors")
    assert all(torch.equal(found[name], value) for name, value in saved.items())


def test_nothing_in_a_file_is_ever_run(tmp_path, monkeypatch):
    monkeypatch.delenv("BOMB", raising=False)
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Bomb()}, tmp_path / "new.pt")
    torch.save({"a": Bomb()}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("new.pt", "old.pt", "plain.pt"):
        with pytest.raises(LayerwiseError, match=r"never run|cannot be read"):
            read_weights(tmp_path / name)
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "new.pt", weights_only=False)
    assert "BOMB" not in __import__("os").environ


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_file_gives_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LayerwiseError) as error:
        read_weights(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_gives_one_line(tmp_path):
    torch.save(network().state_dict(), tmp_path / "a.pt")
    save_file(network().state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LayerwiseError, match=name):
            read_weights(tmp_path / name)


def test_no_damage_gives_anything_but_weights_or_one_line(tmp_path):
    torch.save(network().state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pt").read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        place, value = (int(torch.randint(n, (), generator=generator)) for n in (len(whole), 256))
        (tmp_path / "b.pt").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        with warnings.catch_warnings(), contextlib.suppress(LayerwiseError):
            warnings.simplefilter("ignore")
            assert all(
                isinstance(v, torch.Tensor) for v in read_weights(tmp_path / "b.pt").values()
            )


def test_a_file_without_a_state_dict_gives_one_line(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(LayerwiseError, match="holds no state dict"):
        read_weights(tmp_path / "a.pt")
    with pytest.raises(LayerwiseError, match="no file of weights"):
        read_weights(tmp_path / "b.pt")


def test_one_line_names_all_that_differs():
    module = network()
    weights = dict(module.state_dict())
    weights["extra.weight"] = weights.pop("0.bias")
    weights["3.weight"] = torch.zeros(5, 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(LayerwiseError) as error:
        load_weights(module, weights, source="a.pt")
    line = str(error.value)
    assert "1 missing: 0.bias [4]" in line
    assert "1 unexpected: extra.weight [4]" in line
    assert "1 of another shape: 3.weight [5, 4] instead of [2, 4]" in line
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_tied_weights_may_be_saved_under_one_name():
    module = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    module["head"].weight = module["embed"].weight
    load_weights(module, {"embed.weight": torch.ones(4, 3)}, source="a.pt")
    assert module["head"].weight.unique().tolist() == [1.0]


def test_only_a_head_of_another_size_counts_as_one():
    weights = dict(network().state_dict())
    assert head_size(network(), weights) is None
    weights["3.weight"], weights["3.bias"] = torch.zeros(7, 4), torch.zeros(7)
    assert head_size(network(), weights) == 7
    weights["3.weight"] = torch.zeros(7, 5)
    assert head_size(network(), weights) is None
    weights["0.bias"] = torch.zeros(1)
    assert head_size(network(), weights) is None
