from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from layerwise.atlas import _files
from layerwise.atlas._atlas import (
    Atlas,
    Choice,
    Collapse,
    Control,
    LayerMap,
    LayerPicture,
    LayerRow,
    Neighbours,
    NetworkRow,
    Provenance,
    Score,
    Shown,
    Similarity,
    TargetRow,
)
from layerwise.atlas._files import FORMAT, load, save, write_whole
from layerwise.errors import LayerwiseError

BEST = Score("blur", "net", "blocks.1", "mean", "linear", 0.9, 0.1 + 0.2, 0.25, 0.35, 1e-300, 1e-3)
LAST = Score("blur", "net", "head", "first", "knn", 1.0, 0.5, 0.4, 0.6, 0.0)


def awkward() -> Atlas:
    """Every table filled, with values that are easy to lose on the way through a file."""
    return Atlas(
        format=FORMAT,
        provenance=Provenance(
            command='layerwise atlas "a b" --out é\n',
            made="2026-11-23T12:00:00+00:00",
            versions={"torch": "2.15"},
            machine={},
            seeds=(0, 1),
            data="photos",
            data_sha256="ab" * 32,
            samples=2,
            seconds={"read": 0.1},
            reused={"rows": 10**15},
        ),
        networks=(
            NetworkRow("net", "timm:net", "image", "", 3, "cd" * 32, "Resize(8)", ("a", "b")),
        ),
        targets=(TargetRow("blur", "class", ("a", "日本"), "accuracy", 0.5, 4, 2, 2),),
        layers=(
            LayerRow("net", "stem", "stem", 0, 0.0, "map", (1, 8, 4, 4), 8, 10, 20, 0.5, 32, 1.5),
            LayerRow("net", "odd", "other", 1, 1.0, "", (), 0, 0, 0, 0.0, 0, refused="no layout"),
        ),
        scores=(BEST, LAST),
        choices=(
            Choice(
                *("blur", BEST, LAST, BEST, -0.0, -0.1, 0.1, 0.5),
                indistinguishable=(("net", "head", "first", "knn"),),
                enough=False,
                words="Too few.",
                code="x = 1",
            ),
        ),
        controls=(Control("blur", "net", "stem", "mean", 0.5, 0.4, 0.6, None, 0.7, 2),),
        collapse=(Collapse("blur", "net", "stem", "mean", None, 1.0, 2.0, math.inf, -math.inf),),
        similarity=(
            Similarity("net", "net", ("stem", "odd"), ("stem", "odd"), ((1.0, None),) * 2),
        ),
        shown=(
            Shown("<script>.png", "k", "data:image/png;base64,", "", "train", {"blur": "日本"}),
        ),
        maps=(LayerMap("net", "stem", ((0.25, 1 / 3),)),),
        neighbours=(Neighbours("net", "stem", (0,), ((),)),),
        pictures=(LayerPicture("net", "stem", 0, "data:image/png;base64,"),),
        set_aside=(("not utf-8: \udcff.jpg", "not an image"),),
    )


def test_an_atlas_comes_back_equal(tmp_path: Path) -> None:
    atlas = awkward()
    save(atlas, tmp_path)
    back = load(tmp_path)
    assert back == atlas
    # `==` takes -0.0 for 0.0 and 1 for 1.0; the text of the object does not.
    assert repr(back) == repr(atlas)


def test_a_number_that_is_not_one_comes_back_as_such(tmp_path: Path) -> None:
    atlas = awkward()
    scores = (dataclasses.replace(BEST, test=math.nan),)
    save(dataclasses.replace(atlas, scores=scores), tmp_path)
    assert math.isnan(load(tmp_path).scores[0].test)


def test_the_json_is_strict_and_has_a_line_per_row(tmp_path: Path) -> None:
    path = save(awkward(), tmp_path)
    assert path == tmp_path / "atlas.json"

    def refuse(word: str) -> float:
        raise AssertionError(word)

    text = path.read_text(encoding="utf-8")
    plain = json.loads(text, parse_constant=refuse)
    assert plain["collapse"][0]["nc3"] == "Infinity"
    row = next(line for line in text.splitlines() if '"stem"' in line)
    assert json.loads(row.rstrip(","))["shape"] == [1, 8, 4, 4]
    assert "日本" in text


def test_the_tables_hold_the_rows(tmp_path: Path) -> None:
    atlas = awkward()
    save(atlas, tmp_path)
    tables = {path.stem: pq.read_table(path) for path in (tmp_path / "tables").iterdir()}
    assert set(tables) == {
        *("layers", "scores", "candidates", "choices", "controls", "collapse", "language"),
        "similarity",
    }
    assert tables["layers"].to_pylist()[0] == {
        **dataclasses.asdict(atlas.layers[0]),
        "shape": [1, 8, 4, 4],
    }
    assert tables["scores"].to_pylist() == [dataclasses.asdict(score) for score in atlas.scores]
    choice = tables["choices"].to_pylist()[0]
    assert choice["best_layer"] == "blocks.1"
    assert choice["last_penalty"] is None
    assert choice["indistinguishable"] == [["net", "head", "first", "knn"]]
    assert tables["similarity"].to_pylist()[1] == {
        "network": "net",
        "other": "net",
        "layer": "stem",
        "other_layer": "odd",
        "value": None,
    }


def test_empty_tables_keep_their_columns(tmp_path: Path) -> None:
    empty = Atlas(FORMAT, awkward().provenance, *[()] * 13)
    save(empty, tmp_path)
    assert load(tmp_path) == empty
    table = pq.read_table(tmp_path / "tables" / "scores.parquet")
    assert table.column_names == [field.name for field in dataclasses.fields(Score)]
    assert str(table.schema.field("low").type) == "double"


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LayerwiseError, match=r"nowhere/atlas\.json cannot be read \(No such file"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0, 1, 100, -2])
def test_a_truncated_file_is_one_clear_line(tmp_path: Path, kept: int) -> None:
    path = save(awkward(), tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LayerwiseError, match=r"is damaged .*run the survey again") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("find", "put", "says"),
    [
        ('"format": 1', '"format": 2', "has format 2 and this layerwise reads up to 1: a newer"),
        ('"format": 1', '"format": "1"', "has no format number"),
        ('"pooling": "mean", ', "", r"atlas\.scores\[0\] lacks pooling"),
        ('"pooling": "mean"', '"pooling": 3', r"atlas\.scores\[0\]\.pooling is '3'"),
        ('"low": 0.25', '"low": "0.25"', r"atlas\.scores\[0\]\.low is '0\.25'"),
        ('"test": 2', '"test": true', r"atlas\.targets\[0\]\.test is 'True'"),
        ("[0.25, ", "[0.1, 0.25, ", r"places\[0\] has 3 entries and not 2"),
        ('"depth": 0.0', '"deep": 0, "depth": 0.0', "unknown deep"),
        ('"scores": [', '"scores": 1, "x": [', "atlas has an unknown x"),
    ],
)
def test_a_file_of_another_shape_is_one_clear_line(
    tmp_path: Path, find: str, put: str, says: str
) -> None:
    path = save(awkward(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert find in text
    path.write_text(text.replace(find, put, 1), encoding="utf-8")
    with pytest.raises(LayerwiseError, match=says):
        load(tmp_path)


def test_json_that_is_no_object_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "atlas.json").write_text("[]")
    with pytest.raises(LayerwiseError, match="no format number"):
        load(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full)
    with pytest.raises(LayerwiseError, match=r"a\.json cannot be written \(No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(LayerwiseError, match="choose another folder"):
        save(awkward(), tmp_path / "taken")
