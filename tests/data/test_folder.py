"""Folders and zips of pictures: classes, given splits, and all that is wrong with files."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from layerwise import data
from layerwise.data._folder import read_tree
from layerwise.data.laws import check
from layerwise.errors import LayerwiseError


def picture(colour=0, size=8):
    file = io.BytesIO()
    Image.new("RGB", (size, size), (colour, colour, colour)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Fills a folder: `folder({"cat/1.png": bytes})`."""

    def fill(files, root="set"):
        for name, content in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / root

    return fill


@pytest.fixture
def zipped(tmp_path):
    def fill(files, name="set.zip", compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        return tmp_path / name

    return fill


def test_a_class_per_folder(folder):
    root = folder({"cat/1.png": picture(1), "dog/2.png": picture(2), "cat/3.PNG": picture(3)})
    samples = data.open(root)
    assert samples.names == ("cat/1.png", "cat/3.PNG", "dog/2.png")
    assert samples.targets["class"].classes == ("cat", "dog")
    assert samples.targets["class"].values.tolist() == [0, 0, 1]
    assert samples.split is None
    assert [samples.load(i).getpixel((0, 0))[0] for i in range(3)] == [1, 3, 2]
    check(samples)


def test_the_same_tree_reads_the_same_as_folder_and_as_zip(folder, zipped):
    tree = {
        f"set/{side}/{label}/{i}.png": picture(i + 9 * len(label) + 50 * len(side))
        for side in ("train", "val", "test")
        for label in ("cat", "horse")
        for i in range(3)
    }
    one, other = data.open(folder(tree, ".")), data.open(zipped(tree))
    assert one.keys == other.keys
    assert one.names == other.names
    assert one.split == other.split
    assert one.targets["class"].values.equal(other.targets["class"].values)
    assert set(one.split) == {"train", "validation", "test"}
    assert one.load(7).tobytes() == other.load(7).tobytes()
    check(other)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.png"], [(None, None), (None, None)]),
        (["set/a.png", "set/b.png"], [(None, None), (None, None)]),
        (["x/y/cat/a.png", "x/y/dog/b.png"], [("cat", None), ("dog", None)]),
        (["Train/cat/a.png", "valid/cat/b.png"], [("cat", "train"), ("cat", "validation")]),
        (["train/a.png", "test/b.png"], [(None, "train"), (None, "test")]),
        (["train/cat/a.png", "train/dog/b.png"], [("cat", None), ("dog", None)]),
        (["train/cat/a.png", "truck/cat/b.png"], [("train", None), ("truck", None)]),
        (["cat/deep/er/a.png", "dog/b.png", "c.png"], [("cat", None), ("dog", None), (None, None)]),
        (["test/cat/a.png", "training/dog/b.png"], [("cat", "test"), ("dog", "train")]),
    ],
)
def test_trees_are_understood(names, expected):
    found, strays = read_tree(names)
    assert [(each.label, each.side) for each in found] == expected
    assert not strays


def test_pictures_outside_a_given_split_are_set_aside(folder):
    tree = {"train/cat/1.png": picture(1), "test/cat/2.png": picture(2), "extra/3.png": picture(3)}
    samples = data.open(folder(tree))
    assert len(samples) == 2
    assert [each.name for each in samples.set_aside] == ["extra/3.png"]


def test_what_is_no_picture_is_set_aside_and_system_files_are_nothing(folder):
    tree = {
        "cat/1.png": picture(),
        "cat/notes.txt": b"x",
        "cat/.DS_Store": b"x",
        "__MACOSX/cat/1.png": b"x",
        ".cache/1.png": b"x",
        "dog/Thumbs.db": b"x",
    }
    samples = data.open(folder(tree))
    assert len(samples) == 1
    assert [(each.name, each.reason) for each in samples.set_aside] == [
        ("cat/notes.txt", "not a picture by its suffix")
    ]


def test_bad_files_are_set_aside_at_the_right_time_and_the_rest_goes_on(folder):
    root = folder({"cat/good.png": picture(), "cat/empty.png": b"", "cat/corrupt.png": b"\x89PNGx"})
    samples = data.open(root)
    assert [each.name for each in samples.set_aside] == ["cat/empty.png"]
    assert "0 bytes" in samples.set_aside[0].reason
    assert samples.names == ("cat/corrupt.png", "cat/good.png")
    with pytest.raises(data.Unreadable):
        samples.load(0)
    assert samples.load(1).size == (8, 8)
    check(samples)


@pytest.mark.parametrize("tree", [{}, {"readme.txt": b"x"}])
def test_a_folder_without_pictures_says_what_it_holds(folder, tree, tmp_path):
    (tmp_path / "set").mkdir(exist_ok=True)
    with pytest.raises(LayerwiseError, match=r"holds no pictures: it (is empty|holds 1 x \.txt)"):
        data.open(folder(tree))


def test_a_zip_without_pictures_says_what_it_holds(zipped):
    with pytest.raises(LayerwiseError, match=r"holds no pictures: it holds 2 x \.csv"):
        data.open(zipped({"a.csv": b"x", "b.csv": b"y"}))


def test_nothing_readable_is_an_error_with_the_first_reason(folder):
    with pytest.raises(LayerwiseError, match=r"none of the 2 .*0 bytes"):
        data.open(folder({"a.png": b"", "b.png": b""}))


def test_links_are_followed_once_and_broken_ones_set_aside(folder, tmp_path):
    root = folder({"cat/1.png": picture(1)})
    outside = folder({"2.png": picture(2)}, "outside")
    (root / "dog").symlink_to(outside)
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    samples = data.open(root)
    assert samples.names == ("cat/1.png", "dog/2.png")
    assert [(each.name, "no such file" in each.reason) for each in samples.set_aside] == [
        ("cat/lost.png", True)
    ]


def test_names_that_are_not_utf8_can_be_written(folder):
    root = folder({"cat/1.png": picture(1)})
    odd = os.fsencode(root) + b"/caf\xe9"
    os.mkdir(odd)
    with open(odd + b"/\xff.png", "wb") as file:
        file.write(picture(2))
    samples = data.open(root)
    assert samples.names == ("caf?/?.png", "cat/1.png")
    assert samples.targets["class"].classes == ("caf?", "cat")
    assert samples.load(0).getpixel((0, 0)) == (2, 2, 2)


def test_a_folder_that_cannot_be_listed_is_an_error(folder, monkeypatch):
    root = folder({"cat/1.png": picture(1)})

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(LayerwiseError, match="cannot be listed: Permission denied"):
        data.open(root)


def test_pipes_do_not_hang(folder):
    root = folder({"1.png": picture(1)})
    os.mkfifo(root / "2.png")
    assert "ordinary" in data.open(root).set_aside[0].reason


def test_an_unreadable_file_is_set_aside(folder):
    root = folder({"1.png": picture(1), "2.png": picture(2)})
    (root / "2.png").chmod(0)
    if os.access(root / "2.png", os.R_OK):
        pytest.skip("this user may read everything")
    assert "permission" in data.open(root).set_aside[0].reason


def test_hostile_names_in_a_zip_are_only_names(zipped, tmp_path):
    names = ["../../escape/1.png", "/etc/1.png", "..\\..\\up/1.png", "a/../../b/1.png"]
    samples = data.open(zipped({name: picture(i) for i, name in enumerate(names)}))
    assert len(samples) == 4
    assert all(samples.load(i).size == (8, 8) for i in range(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.zip"]
    assert not (tmp_path.parent / "escape").exists()


def test_a_damaged_member_of_a_zip_is_set_aside(zipped):
    path = zipped({"1.png": picture(1), "2.png": picture(2)}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(picture(1)) + 20] ^= 255
    path.write_bytes(content)
    samples = data.open(path)
    assert samples.names == ("2.png",)
    assert "damaged in the zip" in samples.set_aside[0].reason


def test_a_member_that_claims_to_be_huge_is_not_unpacked(zipped, monkeypatch):
    monkeypatch.setattr("layerwise.data._places.MAX_BYTES", 1000)
    samples = data.open(zipped({"1.png": picture(), "2.png": bytes(1001)}))
    assert samples.names == ("1.png",)
    assert "above the limit" in samples.set_aside[0].reason


def test_what_is_no_zip_is_an_error(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(LayerwiseError, match="cannot be opened as a zip"):
        data.open(tmp_path / "x.zip")


def test_a_zip_written_anew_is_read_anew(zipped):
    assert len(data.open(zipped({"1.png": picture()}))) == 1
    path = zipped({"1.png": picture(), "2.png": picture(5)})
    os.utime(path, ns=(1, 1))
    samples = data.open(path)
    assert len(samples) == 2
    assert samples.load(1).getpixel((0, 0)) == (5, 5, 5)


def test_keys_come_from_content_and_number_copies(folder):
    samples = data.open(
        folder({"a/1.png": picture(1), "b/2.png": picture(1), "b/3.png": picture(3)})
    )
    first, second, third = samples.keys
    assert second == f"{first}#2"
    assert third not in (first, second)
    moved = data.open(folder({"other.png": picture(3)}, "moved"))
    assert moved.keys == (third,)


def test_unknown_targets_name_the_nearest(folder):
    root = folder({"cat/1.png": picture(1), "dog/2.png": picture(2)})
    with pytest.raises(LayerwiseError, match="no target is called 'clas'; nearest: class"):
        data.open(root, targets=["clas"])
    assert data.open(root, targets=[]).targets == {}


def test_the_limit_keeps_shares_and_is_seeded(folder):
    tree = {
        f"{label}/{i}.png": picture(i + shift)
        for label, count, shift in (("cat", 30, 0), ("dog", 10, 100))
        for i in range(count)
    }
    root = folder(tree)
    samples = data.open(root, limit=12)
    assert samples.targets["class"].values.bincount().tolist() == [9, 3]
    assert data.open(root, limit=12).keys == samples.keys
    assert data.open(root, limit=12, seed=1).keys != samples.keys
    assert set(data.open(root, limit=6).keys) < set(samples.keys)
    with pytest.raises(LayerwiseError, match="limit=0"):
        data.open(root, limit=0)


def test_max_pixels_reaches_the_loader(folder):
    root = folder({"a/1.png": picture(1, size=30), "b/2.png": picture(2)})
    samples = data.open(root, max_pixels=100)
    with pytest.raises(data.Unreadable, match="30 x 30"):
        samples.load(0)
    assert samples.load(1).size == (8, 8)


def test_cifar_reads_with_its_given_split(shared):
    samples = data.open(shared / "data" / "cifar10_small.zip")
    assert len(samples) == 6000
    assert len(samples.targets["class"].classes) == 10
    assert samples.split.count("train") == 5000
    parts = data.split(samples, "class", seed=0)
    assert len(parts.test) == 1000
    assert len(parts.train) + len(parts.validation) == 5000
    shape = np.asarray(samples.load(0)).shape
    assert shape == (32, 32, 3)
