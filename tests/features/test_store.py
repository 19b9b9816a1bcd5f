import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layerwise.errors import LayerwiseError
from layerwise.features import Column, Recipe, Store
from layerwise.features._disk import plain_errors, write_whole

MEAN = Column("blocks.3.0", "mean", width=6, layout="map", method="Mean()")
FIRST = Column("norm", "first", width=4, layout="tokens", method="First()")
RECIPE = Recipe("a1b2c3", "Resize(224)", "float32", (MEAN, FIRST), {"torch": "2"})


def rows(n, start=0, dtype=torch.float32):
    keys = [f"k{i}" for i in range(start, start + n)]
    names = [f"{i}.jpg" for i in range(start, start + n)]
    generator = torch.Generator().manual_seed(start)
    features = {c: torch.randn(n, c.width, generator=generator).to(dtype) for c in (MEAN, FIRST)}
    return keys, names, features


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "birds.lance", RECIPE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_goes_in_comes_out_bit_for_bit_in_any_order(tmp_path, dtype):
    store = Store.open(tmp_path / "s.lance", replace(RECIPE, dtype=dtype))
    first, second = (rows(5, start, getattr(torch, dtype)) for start in (0, 5))
    store.append(*first)
    store.append(*second)
    whole = torch.cat([first[2][MEAN], second[2][MEAN]])
    wanted = [9, 0, 4, 4, 7]
    again = Store.open(store.path)
    assert again.keys() == tuple(f"k{i}" for i in range(10))
    assert again.load(MEAN).dtype == getattr(torch, dtype)
    assert torch.equal(again.load(MEAN), whole)
    assert torch.equal(again.load("blocks/3/0:mean", [f"k{i}" for i in wanted]), whole[wanted])
    assert torch.equal(torch.cat(list(again.stream(FIRST))), again.load(FIRST))
    assert again.load(MEAN, []).shape == (0, 6)


def test_plain_lance_finds_what_the_docstring_says(store):
    keys, names, features = rows(20)
    store.append(keys, names, features)
    store.describe(keys, names, {"wind.speed": torch.arange(20.0), "kind": ["wren"] * 20})
    dataset = lance.dataset(str(store.path))
    assert dataset.schema.names == [
        "key",
        "name",
        "blocks/3/0:mean",
        "norm:first",
        "target:wind%2Espeed",
        "target:kind",
    ]
    table = dataset.to_table(columns=["blocks/3/0:mean"], filter="`target:wind%2Espeed` > 17")
    assert np.array_equal(np.stack(table["blocks/3/0:mean"].to_pylist()), features[MEAN][18:])
    query = {"column": "blocks/3/0:mean", "q": features[MEAN][7].numpy(), "k": 1}
    assert dataset.to_table(columns=["name"], nearest=query)["name"].to_pylist() == ["7.jpg"]
    kept = json.loads(dataset.schema.metadata[b"layerwise"])
    assert kept["weights"] == "a1b2c3"
    assert kept["about"] == {"torch": "2"}


ADDRESS = st.text("ab./%:@[1]target", min_size=1).filter(lambda name: ":" not in name[-1])


@given(ADDRESS, ADDRESS)
def test_column_names_can_be_read_back(layer, pooling):
    def read(name):
        address, word = name.rsplit(":", 1)
        plain = address.replace("/", ".").replace("%2F", "/").replace("%74", "t")
        return plain.replace("%25", "%"), word.replace("%2E", ".").replace("%25", "%")

    pooling = pooling.replace(":", "")
    name = Column(layer, pooling, 1, "map", "").name
    assert "." not in name
    assert not name.startswith("target:")
    assert read(name) == (layer, pooling)


def test_odd_addresses_work_in_lance(tmp_path):
    layers = [".", "a.b/c:in[1]@2", "Block 3%", "target"]
    columns = tuple(Column(layer, "gem4.6", 3, "map", "GeM(p=4.6)") for layer in layers)
    store = Store.open(tmp_path / "s.lance", replace(RECIPE, columns=columns))
    values = {column: torch.rand(2, 3) for column in columns}
    store.append(["k0", "k1"], ["a", "b"], values)
    store.describe(["k0"], ["a"], {"gem4.6": ["x"]})
    for column in columns:
        assert torch.equal(store.load(column), values[column])
        query = {"column": column.name, "q": values[column][1].numpy(), "k": 1}
        found = lance.dataset(str(store.path)).to_table(columns=["key"], nearest=query)
        assert found["key"].to_pylist() == ["k1"]
    assert store.targets == ("gem4.6",)
    assert store.values("gem4.6") == ("x", None)


def test_describe_changes_labels_and_no_feature(store):
    keys, names, features = rows(6)
    store.append(keys[:4], names[:4], {c: f[:4] for c, f in features.items()})
    store.append(keys[4:], names[4:], {c: f[4:] for c, f in features.items()})
    files = set((store.path / "data").iterdir())
    nan = float("nan")
    assert store.describe(keys, names, {"blur": torch.tensor([1.0, nan, 3, 4, 5, 6])}) == 5
    assert (
        store.describe(keys[::-1], names[::-1], {"blur": torch.tensor([6.0, 5, 4, 3, nan, 1])}) == 0
    )
    new = [*keys[2:], "k99"]
    assert (
        store.describe(new, [*names[2:5], "moved.jpg", "?"], {"kind": ["a", "b", None, "a", "c"]})
        == 3
    )
    assert store.targets == ("blur", "kind")
    assert store.values("kind") == (None, None, "a", "b", None, "a")
    assert store.values("name", ["k5", "k0"]) == ("moved.jpg", "0.jpg")
    expected = torch.tensor([1.0, nan, 3, 4, 5, 6], dtype=torch.float64)
    assert torch.equal(store.values("blur").nan_to_num(-1), expected.nan_to_num(-1))
    assert store.describe(keys, names, {"blur": ["sharp"] * 6}) == 6
    assert store.values("blur") == ("sharp",) * 6
    assert files <= set((store.path / "data").iterdir())
    store.finish()
    assert torch.equal(Store.open(store.path).load(FIRST), features[FIRST])
    assert Store.open(store.path).values("kind") == (None, None, "a", "b", None, "a")


def test_appended_rows_bring_their_targets_or_miss_them(store):
    store.describe([], [], {"blur": torch.empty(0), "kind": []})
    store.append(*rows(2), {"kind": ["a", None]})
    store.append(*rows(2, 2), {"blur": torch.tensor([1.5, float("nan")])})
    assert store.values("kind") == ("a", None, None, None)
    assert store.values("blur").nan_to_num(-1).tolist() == [-1, -1, 1.5, -1]


def test_a_key_has_one_row(store):
    store.append(*rows(4))
    with pytest.raises(LayerwiseError, match="2 of 4 samples are in the store already"):
        store.append(*rows(4, 2))
    with pytest.raises(LayerwiseError, match="1 of 2 samples are in the store already"):
        store.append(["k8", "k8"], ["a", "b"], rows(2)[2])
    assert store.keys() == ("k0", "k1", "k2", "k3")


def test_finish_joins_commits_and_deletes_what_nobody_needs(store):
    for start in range(0, 50, 5):
        store.append(*rows(5, start))
    before = store.load(MEAN, sorted(store.keys()))
    orphan = store.path / "data" / "left-by-a-killed-commit.lance"
    orphan.write_bytes(b"half a file")
    store.finish()
    dataset = lance.dataset(str(store.path))
    assert len(dataset.get_fragments()) == len(dataset.versions()) == 1
    assert len(list((store.path / "data").iterdir())) == 1
    assert torch.equal(store.load(MEAN, sorted(store.keys())), before)
    version = dataset.version
    store.finish()
    assert lance.dataset(str(store.path)).version == version
    store.append(*rows(5, 50))
    assert len(Store.open(store.path)) == 55


OTHER = {
    "weights": (replace(RECIPE, weights="ffff"), "other weights (there a1b2c3, now ffff)"),
    "preparation": (
        replace(RECIPE, preparation="Resize(518)"),
        "another preparation (there Resize(224), now Resize(518))",
    ),
    "dtype": (
        replace(RECIPE, dtype="float16"),
        "another type of number (there float32, now float16)",
    ),
    "fewer": (replace(RECIPE, columns=(MEAN,)), "with norm (first) besides"),
    "more": (
        replace(RECIPE, columns=(MEAN, FIRST, replace(MEAN, pooling="max"))),
        "without blocks.3.0 (max)",
    ),
    "form": (
        replace(RECIPE, columns=(MEAN, replace(FIRST, layout="vector"))),
        "another form of norm (first) (there 4 of tokens by First(), now 4 of vector by First())",
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_recipe_is_refused_by_name_once_there_are_rows(store, case):
    other, words = OTHER[case]
    assert Store.open(store.path, other).recipe == other
    store = Store.open(store.path, RECIPE)
    store.append(*rows(3))
    with pytest.raises(LayerwiseError, match=re.escape(words)) as caught:
        Store.open(store.path, other)
    assert "\n" not in str(caught.value)
    assert "choose another folder" in str(caught.value)
    assert len(Store.open(store.path, replace(RECIPE, about={"torch": "3"}))) == 3


def foreign(path):
    lance.write_dataset(pa.table({"x": [1]}), str(path))


def newer(path):
    Store.open(path, RECIPE)
    dataset = lance.dataset(str(path))
    metadata = {**dataset.schema.metadata, b"layerwise_format": b"2"}
    lance.write_dataset(
        dataset.schema.with_metadata(metadata).empty_table(), str(path), mode="overwrite"
    )


def garbled(path):
    Store.open(path, RECIPE)
    dataset = lance.dataset(str(path))
    metadata = {**dataset.schema.metadata, b"layerwise": b'{"weights": 1'}
    lance.write_dataset(
        dataset.schema.with_metadata(metadata).empty_table(), str(path), mode="overwrite"
    )


def cut(path):
    Store.open(path, RECIPE)
    for manifest in (path / "_versions").glob("*.manifest"):
        manifest.write_bytes(manifest.read_bytes()[:20])


def photographs(path):
    path.mkdir()
    (path / "wren.jpg").write_bytes(b"")


NOT_OPENED = {
    "a file": (lambda path: path.write_text("x"), "is a file, but a feature store is a folder"),
    "photographs": (photographs, "is no feature store, and not empty: it holds 'wren.jpg'"),
    "other dataset": (foreign, "is no feature store; choose another folder"),
    "newer format": (newer, r"newer layerwise \(format 2, this one reads up to 1\)"),
    "garbled": (garbled, r"is damaged \(.*\); move it away and extract again"),
    "cut": (cut, r"is damaged \(.*\); move it away and extract again"),
}


@pytest.mark.parametrize("case", NOT_OPENED)
def test_what_is_no_sound_store_is_refused_in_one_line(tmp_path, case):
    make, words = NOT_OPENED[case]
    make(tmp_path / "s.lance")
    before = sorted(tmp_path.rglob("*"))
    for recipe in (None, RECIPE):
        with pytest.raises(LayerwiseError, match=words) as caught:
            Store.open(tmp_path / "s.lance", recipe)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_there(tmp_path):
    with pytest.raises(LayerwiseError, match=r"no feature store at .*; make one with `extract`"):
        Store.open(tmp_path / "s.lance")
    (tmp_path / "s.lance" / "_layerwise").mkdir(parents=True)
    (tmp_path / "s.lance" / "data").mkdir()
    (tmp_path / "s.lance" / "data" / "half.lance").write_bytes(b"")
    with pytest.raises(LayerwiseError, match="no feature store at"):
        Store.open(tmp_path / "s.lance")
    assert len(Store.open(tmp_path / "s.lance", RECIPE)) == 0


@pytest.mark.parametrize("harm", ["gone", "cut", "garbled"])
def test_damaged_features_are_one_clear_line(store, harm):
    store.append(*rows(8))
    (file,) = (store.path / "data").iterdir()
    whole = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        half = len(whole) // 2
        file.write_bytes(whole[:half] + (b"" if harm == "cut" else os.urandom(len(whole) - half)))
    with pytest.raises(LayerwiseError, match=r"is damaged \(.*\); move it away") as caught:
        Store.open(store.path).load(MEAN)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_told_with_the_nearest(store):
    keys, names, _ = rows(1)
    store.describe(keys, names, {"blur": torch.ones(1)})
    with pytest.raises(
        LayerwiseError, match="no column of the store is called 'blocks/3:mean'; near"
    ):
        store.load("blocks/3:mean")
    with pytest.raises(LayerwiseError, match="no target is called 'blurr'; nearest: blur"):
        store.values("blurr")
    with pytest.raises(LayerwiseError, match="2 of 2 samples have no row"):
        store.load(MEAN, ["k0", "k1"])


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 2 MB, where this system lets us mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(store, column):
    while len(store) < 8192:
        keys, names, _ = rows(256, len(store))
        store.append(keys, names, {column: torch.full((256, column.width), float(len(store)))})


def test_a_full_disk_keeps_what_was_committed(small_disk):
    wide = Column("norm", "mean", width=512, layout="map", method="Mean()")
    recipe = replace(RECIPE, columns=(wide,))
    store = Store.open(small_disk / "s.lance", recipe)
    with pytest.raises(LayerwiseError, match=r"no space left on the device of .*; what was comm"):
        fill(store, wide)
    done = len(store)
    assert 0 < done < 1024
    again = Store.open(store.path, recipe)
    assert len(again) == done
    assert torch.equal(again.load(wide)[:, 0], torch.arange(done) // 256 * 256.0)
    with pytest.raises(LayerwiseError, match="no space left"):
        again.finish()
    with pytest.raises(LayerwiseError, match="no space left"), plain_errors(store.path):
        write_whole(small_disk / "plan.json", "x" * 2_000_000)
    assert [path.name for path in small_disk.iterdir()] == ["s.lance"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LayerwiseError, match=r"cannot write to the folder .*; choose another one"):
        Store.open(tmp_path / "file" / "s.lance", RECIPE)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "no space left"),
        (OSError("LanceError(IO): No space left on device (os error 28), a/b.rs:3:4"), "no space"),
        (OSError("LanceError(IO): Permission denied (os error 13), a/b.rs:3:4"), "cannot write"),
        (PermissionError(13, "Permission denied"), "cannot write"),
        (ValueError("LanceError(IO): too small, a/b.rs:3:4"), r"damaged \(too small\)"),
    ],
)
def test_errors_of_the_disk_in_words(error, words):
    with pytest.raises(LayerwiseError, match=words), plain_errors(Path("s.lance")):
        raise error


HOLDER = """
import sys, time
from layerwise.features import Store
with Store.open(sys.argv[1]).writing():
    print("writing", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time_and_a_killed_one_leaves_no_lock(store):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "writing\n"
        words = f"process {holder.pid} is writing to the store .*; wait until it ends"
        with pytest.raises(LayerwiseError, match=words), store.writing():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.writing():
        with (
            pytest.raises(LayerwiseError, match="another thread"),
            Store.open(store.path).writing(),
        ):
            pass
        store.append(*rows(2))
    with store.writing() as folder:
        assert folder.parent == store.path
    store.finish()
    assert folder.is_dir()


def test_write_whole_leaves_the_old_text_when_it_fails(tmp_path):
    path = tmp_path / "plan.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \ud800")
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("plan.json", "new")]


def test_a_removed_row_is_gone_and_may_come_again(store):
    keys, names, features = rows(6)
    keys[2] = "it's"
    store.append(keys, names, features)
    store.describe(keys, names, {"kind": list("abcdef")})
    assert store.remove(["it's", "k4", "k4", "nobody"]) == 2
    assert store.keys() == ("k0", "k1", "k3", "k5")
    assert torch.equal(store.load(MEAN), features[MEAN][[0, 1, 3, 5]])
    assert torch.equal(store.load(MEAN, ["k5", "k0"]), features[MEAN][[5, 0]])
    assert store.values("kind") == ("a", "b", "d", "f")
    store.append(["k4"], ["again"], {c: x[4:5] for c, x in features.items()}, {"kind": ["z"]})
    assert store.describe(["k4", "k5"], ["four", "five"], {"kind": ["e", "f"]}) == 2
    store.finish()
    for each in (store, Store.open(store.path)):
        assert each.keys() == ("k0", "k1", "k3", "k5", "k4")
        assert torch.equal(each.load(MEAN), features[MEAN][[0, 1, 3, 5, 4]])
        assert each.values("name")[3:] == ("five", "four")
        assert each.values("kind") == ("a", "b", "d", "f", "e")


def test_a_reader_goes_on_to_what_others_have_committed(store):
    reader = Store.open(store.path)
    assert not reader.refresh()
    store.append(*rows(3))
    assert len(reader) == 0
    assert reader.refresh()
    assert reader.keys() == store.keys()
