"""Arrays, tensors and their files."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from layerwise import data
from layerwise.data.laws import check
from layerwise.errors import LayerwiseError


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2", "u1", "?", "c8", "f2"])
def test_arrays_and_tensors_and_files_give_the_same_rows(generator, tmp_path, dtype):
    array = (generator.normal(size=(5, 3, 2)) * 50).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    one, two = data.open(array), data.open(tmp_path / "a.npy")
    assert one.keys == two.keys
    for samples in (one, two):
        assert samples.modality == "tensor"
        assert np.array_equal(samples.load(3).numpy(), array[3])
        check(samples)


def test_keys_know_type_and_shape():
    zeros = torch.zeros(2, 4)
    different = [zeros, zeros.double(), zeros.view(2, 2, 2), zeros.int()]
    assert len({data.open(each).keys[0] for each in different}) == 4
    assert data.open(zeros).keys[1].endswith("#2")


def test_half_precision_and_views_work():
    half = torch.arange(12, dtype=torch.bfloat16).view(3, 4).t()
    samples = data.open(half)
    assert torch.equal(samples.load(1), half[1])
    assert samples.load(1).untyped_storage().nbytes() == 6


def test_bytes_with_three_channels_are_pictures(generator):
    pixels = generator.integers(0, 255, (3, 6, 5, 3), np.uint8)
    for array in (pixels, pixels.transpose(0, 3, 1, 2)):
        samples = data.open(array)
        assert samples.modality == "image"
        assert np.array_equal(np.asarray(samples.load(1)), pixels[1])
        check(samples)


def test_the_loaded_row_is_not_the_users_memory():
    tensor = torch.zeros(2, 2)
    data.open(tensor).load(0).add_(1)
    assert tensor.sum() == 0


def test_npz_holds_samples_and_targets(generator, tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x=generator.normal(size=(20, 4)),
        y=np.arange(20) % 2,
        size=generator.normal(size=20),
        word=np.array(["a", "b"] * 10),
        other=np.zeros(3),
    )
    samples = data.open(tmp_path / "a.npz")
    assert {n: t.kind for n, t in samples.targets.items()} == {
        "y": "class",
        "size": "number",
        "word": "class",
    }
    assert samples.load(2).dtype == torch.float64
    assert list(data.open(tmp_path / "a.npz", targets=["y"]).targets) == ["y"]
    check(samples)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(5), r"has shape \(5,\)"),
        (np.zeros((0, 3)), r"has shape \(0, 3\)"),
        (np.array([["a", "b"]]), "no numbers"),
        (np.array([[object()]]), "no numbers"),
        (np.zeros((2, 2), np.longdouble), "which torch does not know"),
    ],
)
def test_arrays_without_samples_are_one_clear_line(array, says):
    with pytest.raises(LayerwiseError, match=says):
        data.open(array)


def test_files_with_python_objects_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    bad = np.empty((1, 1), object)
    bad[0, 0] = Evil()
    np.save(tmp_path / "bad.npy", bad, allow_pickle=True)
    np.savez(tmp_path / "bad.npz", x=bad)
    for name in ("bad.npy", "bad.npz"):
        with pytest.raises(LayerwiseError, match="never unpickled"):
            data.open(tmp_path / name)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_broken_files_are_one_clear_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(LayerwiseError, match="cannot be read as"):
        data.open(tmp_path / name)


def test_npz_with_two_arrays_of_samples_is_asked_about(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(LayerwiseError, match=r"one array of samples .*a \(2, 2\), b \(2, 2\)"):
        data.open(tmp_path / "a.npz")


def test_limit_and_unknown_targets():
    samples = data.open(torch.arange(40.0).view(20, 2), limit=7, seed=3)
    assert len(samples) == 7
    assert samples.names == tuple(sorted(samples.names, key=lambda name: int(name[4:])))
    with pytest.raises(LayerwiseError, match="no target is called 'y'; there are none"):
        data.open(torch.zeros(2, 2), targets=["y"])
