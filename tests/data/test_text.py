"""Text files, a sample per line."""

from __future__ import annotations

import pytest

from layerwise import data
from layerwise.data.laws import check
from layerwise.errors import LayerwiseError


@pytest.fixture
def write(tmp_path):
    def fill(content):
        (tmp_path / "lines.txt").write_bytes(content)
        return tmp_path / "lines.txt"

    return fill


def test_a_sample_per_line(write):
    samples = data.open(write(b"one\r\ntwo\nthree"))
    assert [samples.load(i) for i in range(3)] == ["one", "two", "three"]
    assert samples.names == ("line 1", "line 2", "line 3")
    assert samples.targets == {}
    check(samples)


def test_empty_lines_and_broken_utf8_are_set_aside(write):
    samples = data.open(write(b"one\n\n  \ncaf\xe9\nna\xc3\xafve\n"))
    assert [samples.load(i) for i in range(2)] == ["one", "na\u00efve"]
    assert [(each.name, each.reason) for each in samples.set_aside] == [
        ("line 2", "the text is empty"),
        ("line 3", "the text is empty"),
        ("line 4", "not UTF-8: byte 0xe9 at character 4"),
    ]


def test_only_line_feeds_end_a_line(write):
    assert len(data.open(write("one\u2028still one\x0bone\n".encode()))) == 1


def test_one_enormous_line_is_kept_up_to_the_limit(write):
    samples = data.open(write(b"short\n" + b"x" * 10_000_000 + b"\n" + b"y" * 10_000_001))
    assert len(samples.load(1)) == 10_000_000
    assert samples.set_aside[0].name == "line 3"
    assert "above the limit of 10" in samples.set_aside[0].reason


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lines.txt is empty; give one with a text on each line"),
        (b"\n\n", "none of the 2 samples"),
        (b"\x89PNG\0\0", "not a text file"),
        ("words".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_without_text_are_one_clear_line(write, content, says):
    with pytest.raises(LayerwiseError, match=says):
        data.open(write(content))


def test_equal_lines_have_numbered_keys_that_do_not_depend_on_the_file(write):
    samples = data.open(write(b"same\nother\nsame\n"))
    assert samples.keys[2] == f"{samples.keys[0]}#2"
    assert data.open(["same"]).keys == samples.keys[:1]
