"""The one door: names, paths, and what is neither."""

from __future__ import annotations

import pytest

from layerwise import data
from layerwise.errors import LayerwiseError


def test_built_in_sets_are_listed_and_open():
    assert [each.name for each in data.builtin()] == ["photos", "stdlib"]
    for each in data.builtin():
        assert len(data.open(each.name, limit=20)) == 20


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(LayerwiseError, match="called 'photo'; nearest: photos"):
        data.open("photo")


@pytest.mark.parametrize("source", ["lost/folder", "lost.zip", "lost.csv", "./lost"])
def test_a_lost_path_is_said_to_be_lost(source):
    with pytest.raises(LayerwiseError, match="there is no file or folder"):
        data.open(source)


@pytest.mark.parametrize("name", ["one.jpg", "some.json", "text", "x.tar.gz"])
def test_a_file_of_another_kind_is_answered_with_the_kinds(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LayerwiseError, match=r"is none of: a folder, \.zip, \.csv"):
        data.open(tmp_path / name)


def test_columns_are_for_tables():
    with pytest.raises(LayerwiseError, match="for tables only"):
        data.open("photos", group_column="photo")


def test_a_folder_may_have_the_suffix_of_a_file(tmp_path):
    (tmp_path / "pictures.zip").mkdir()
    with pytest.raises(LayerwiseError, match="holds no pictures: it is empty"):
        data.open(tmp_path / "pictures.zip")
