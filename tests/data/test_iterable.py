"""Samples given in Python."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise import data
from layerwise.data.laws import check
from layerwise.errors import LayerwiseError


def test_texts_with_targets():
    pairs = [(f"text {i}", {"mood": "ab"[i % 2], "size": i * 1.5}) for i in range(12)]
    samples = data.open(iter(pairs))
    assert samples.modality == "text"
    assert samples.targets["mood"].kind == "class"
    assert samples.targets["size"].values.tolist() == [i * 1.5 for i in range(12)]
    check(samples)


def test_pictures_of_any_mode_come_back_as_rgb():
    samples = data.open([Image.new("L", (4, 4), 9), Image.new("RGBA", (4, 4), (0, 0, 0, 0))])
    assert samples.modality == "image"
    assert [samples.load(i).getpixel((0, 0))[0] for i in range(2)] == [9, 255]
    check(samples)


def test_tensors_and_arrays_mix_and_views_are_cut_loose():
    whole = torch.arange(1000.0).view(100, 10)
    samples = data.open([whole[3], np.ones(10, np.float32)])
    assert samples.modality == "tensor"
    assert torch.equal(samples.load(0), whole[3])
    assert samples.load(0).untyped_storage().nbytes() == 40
    check(samples)


def test_paths_are_pictures(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "1.png")
    samples = data.open([tmp_path / "1.png", tmp_path / "lost.png"])
    assert samples.load(0).getpixel((0, 0)) == (255, 0, 0)
    assert "no such file" in samples.set_aside[0].reason
    check(samples)


def test_what_does_not_fit_is_set_aside():
    samples = data.open(["one", None, 7, "", torch.zeros(2), "two"])
    assert [samples.load(i) for i in range(2)] == ["one", "two"]
    assert [each.reason for each in samples.set_aside] == [
        "a NoneType among samples that are str",
        "a int among samples that are str",
        "the text is empty",
        "a Tensor among samples that are str",
    ]


def test_a_truncated_picture_that_was_opened_lazily_is_set_aside():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        file, "PNG"
    )
    lazy = Image.open(io.BytesIO(file.getvalue()[:3000]))
    samples = data.open([Image.new("RGB", (2, 2)), lazy])
    assert "cannot be decoded" in samples.set_aside[0].reason


def test_some_samples_may_lack_a_target():
    samples = data.open([("a", {"mood": "x"}), "b", ("c", {"mood": None}), ("d", {"mood": "y"})])
    with pytest.raises(LayerwiseError, match="no target is called"):
        data.open(["a"], targets=["mood"])
    kept = data.open([("a", {"mood": "x"}), "b", ("d", {"mood": "y"})], targets=["mood"])
    assert kept.targets["mood"].known.tolist() == [True, False, True]
    assert len(samples) == 4


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([], "the list is empty"),
        ([1, 2], "the list gives int"),
        ([("a", 3)], "the list gives tuple; .* pairs"),
        ({"a": 1}, "a dict is no list of samples"),
    ],
)
def test_sources_without_samples_are_one_clear_line(source, says):
    with pytest.raises(LayerwiseError, match=says):
        data.open(source)


def test_a_frame_of_columns_is_refused_by_name():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(LayerwiseError, match="a DataFrame is no list of samples"):
        data.open(pandas.DataFrame({"text": ["a"]}))


def test_an_object_that_cannot_be_iterated_is_refused():
    with pytest.raises(LayerwiseError, match="a int is no data"):
        data.open(7)
