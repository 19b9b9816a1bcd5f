"""Tables: columns by evidence or by name, and every way in which a table may be broken."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from layerwise import data
from layerwise.data.laws import check
from layerwise.errors import LayerwiseError

TEXTS = [f"text number {i} is about something" for i in range(12)]


def picture(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    def fill(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return fill


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        (tmp_path / "in" / f"{i}.png").write_bytes(picture(i))
    return [f"in/{i}.png" for i in range(6)]


def lines(header, rows):
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return file.getvalue()


def test_csv_jsonl_and_parquet_say_the_same(write, tmp_path):
    rows = [(text, "ab"[i % 2], i / 2) for i, text in enumerate(TEXTS)]
    one = data.open(write(lines(["review", "mood", "stars"], rows)))
    objects = [dict(zip(["review", "mood", "stars"], row, strict=True)) for row in rows]
    two = data.open(write("\n".join(map(json.dumps, objects)), "table.jsonl"))
    parquet.write_table(pa.Table.from_pylist(objects), tmp_path / "table.parquet")
    three = data.open(tmp_path / "table.parquet")
    for samples in (one, two, three):
        assert samples.modality == "text"
        assert [samples.load(i) for i in range(12)] == TEXTS
        assert samples.keys == one.keys
        assert samples.targets["mood"].values.tolist() == [i % 2 for i in range(12)]
        assert samples.targets["stars"].values.tolist() == [i / 2 for i in range(12)]
        check(samples)
    assert one.names[0] == "line 2"
    assert two.names[0] == "line 1"
    assert three.names[0] == "row 1"
    assert one.notes[0] == "column 'review': texts (by its values)"


def test_paths_count_from_the_table(write, pictures):
    rows = [(path, i % 2) for i, path in enumerate(pictures)]
    samples = data.open(write(lines(["file", "odd"], rows)), targets=["odd:class"])
    assert samples.modality == "image"
    assert samples.names == tuple(pictures)
    assert samples.load(3).getpixel((0, 0)) == (3, 0, 0)
    check(samples)


def test_a_path_column_wins_over_a_caption_unless_the_text_is_asked_for(write, pictures):
    rows = [(path, text) for path, text in zip(pictures, TEXTS, strict=False)]
    path = write(lines(["file", "caption"], rows))
    assert data.open(path).modality == "image"
    assert data.open(path, text_column="caption").modality == "text"


def test_the_separator_is_found(write):
    for separator in (",", ";", "\t", "|"):
        content = "\n".join(f'"some words, in; all {i}"{separator}{i % 2}' for i in range(10))
        samples = data.open(write(f"text{separator}label\n{content}\n"))
        assert len(samples) == 10
        assert samples.targets["label"].classes == ("0", "1")


def test_quotes_newlines_and_a_byte_order_mark_are_understood(write):
    content = '\ufefftext,label\r\n"two\nlines ""quoted"" here",a\r\nplain words stand here,b\r\n'
    samples = data.open(write(content), targets=["label"])
    assert samples.load(0) == 'two\nlines "quoted" here'
    assert samples.names == ("line 2", "line 4")


def test_a_cell_may_be_enormous(write):
    samples = data.open(write(f"text,label\n{'word ' * 200_000},a\nshort text here,b\n"))
    assert len(samples.load(0)) > 900_000
    assert csv.field_size_limit() == 131072


def test_a_missing_column_names_the_nearest(write):
    path = write(lines(["review", "mood"], [(text, "a") for text in TEXTS]))
    for option in ("text_column", "path_column", "split_column", "group_column"):
        with pytest.raises(LayerwiseError, match="no column is called 'reviews'; nearest: review"):
            data.open(path, **{option: "reviews"})
    with pytest.raises(LayerwiseError, match="no target is called 'moood'; nearest: mood"):
        data.open(path, targets=["moood"])


def test_two_columns_of_text_are_asked_about_unless_one_is_called_text(write):
    rows = [(text, text[::-1]) for text in TEXTS]
    with pytest.raises(LayerwiseError, match=r"'one', 'two' all look like texts; .*text_column="):
        data.open(write(lines(["one", "two"], rows)))
    assert data.open(write(lines(["one", "Text"], rows))).load(0) == TEXTS[0][::-1]
    assert (
        data.open(write(lines(["one", "two"], rows)), text_column="two").load(0) == TEXTS[0][::-1]
    )
    assert data.open(write(lines(["one", "two"], rows)), targets=["one"]).load(0) == TEXTS[0][::-1]


def test_a_table_without_samples_says_which_columns_it_has(write):
    with pytest.raises(LayerwiseError, match=r"give path_column= or text_column=, one of: a, b"):
        data.open(write(lines(["a", "b"], [(1, 2), (3, 4)] * 5)))


def test_both_columns_at_once_are_refused(write):
    path = write(lines(["file", "caption"], [("1.png", "words stand here")]))
    with pytest.raises(LayerwiseError, match="path_column= or text_column="):
        data.open(path, path_column="file", text_column="caption")


def test_missing_paths_are_set_aside_and_the_rest_goes_on(write, pictures):
    rows = [*pictures, "in/lost.png", "", "in/", "http://example.org/1.png"]
    path = write(lines(["file", "i"], [(p, i) for i, p in enumerate(rows)]))
    samples = data.open(path, path_column="file", targets=["i:number"])
    assert len(samples) == 6
    reasons = {each.name: each.reason for each in samples.set_aside}
    assert "no such file" in reasons["in/lost.png"]
    assert reasons["line 9"] == "the path is missing"
    assert "ordinary" in reasons["in/"]
    assert "address" in reasons["http://example.org/1.png"]
    assert samples.targets["i"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_when_no_path_leads_anywhere_the_first_is_shown(write):
    path = write(lines(["file"], [(f"lost/{i}.png",) for i in range(4)]))
    with pytest.raises(LayerwiseError, match=r"none of the 4 .*'file'.*lost/0.png.*no such file"):
        data.open(path)


def test_paths_may_not_leave_the_folder_unless_they_are_absolute(write, tmp_path, pictures):
    table = tmp_path / "table"
    table.mkdir()
    (table / "link").symlink_to(tmp_path / "in")
    (table / "own.png").write_bytes(picture(9))
    rows = ["../in/0.png", "link/1.png", "own.png", "x/../own.png", str(tmp_path / "in" / "2.png")]
    (table / "t.csv").write_text(lines(["file"], [(row,) for row in rows]))
    samples = data.open(table / "t.csv")
    assert samples.names == ("own.png", str(tmp_path / "in" / "2.png")) or len(samples) == 3
    assert {each.name for each in samples.set_aside} >= {"../in/0.png", "link/1.png"}
    assert all("leads out" in each.reason for each in samples.set_aside if "in" in each.name)


def test_split_and_group_columns(write):
    rows = [
        (text, "ab"[i % 2], ["train", "Val", "test"][i % 3], i // 4) for i, text in enumerate(TEXTS)
    ]
    path = write(lines(["text", "mood", "part", "author"], rows))
    samples = data.open(path, split_column="part", group_column="author")
    assert samples.split == ("train", "validation", "test") * 4
    assert list(samples.targets) == ["mood"]
    assert samples.targets["mood"].groups == tuple(str(i // 4) for i in range(12))
    with pytest.raises(LayerwiseError, match="'mood' holds 'a'; a split has train"):
        data.open(path, split_column="mood")


def test_a_column_named_split_is_the_split(write):
    rows = [(text, ["train", "test"][i % 2], "ab"[i // 6]) for i, text in enumerate(TEXTS)]
    samples = data.open(write(lines(["text", "Split", "mood"], rows)))
    assert samples.split == ("train", "test") * 6
    assert list(samples.targets) == ["mood"]


def test_rows_without_a_side_are_set_aside(write):
    rows = [(text, ["train", "test", ""][i % 3]) for i, text in enumerate(TEXTS)]
    samples = data.open(write(lines(["text", "part"], rows)), split_column="part")
    assert len(samples) == 8
    assert samples.set_aside[0].name == "line 4"
    assert samples.set_aside[0].reason == "no side in column 'part'"


def test_a_row_without_a_group_is_alone(write):
    rows = [(text, "ab"[i % 2], "" if i < 2 else "g") for i, text in enumerate(TEXTS)]
    samples = data.open(write(lines(["text", "mood", "g"], rows)), group_column="g")
    assert samples.targets["mood"].groups[:3] == ("row 1", "row 2", "g")


def test_broken_rows_and_texts_are_set_aside(write):
    content = (
        b"text,label\nfine words stand here,a\ntoo,many,cells here\nonly one cell\n,b\n"
        b"caf\xe9 is not utf eight,a\n\nthe last good line,b\n"
    )
    samples = data.open(write(content), text_column="text")
    assert samples.names == ("line 2", "line 8")
    reasons = {each.name: each.reason for each in samples.set_aside}
    assert reasons["line 3"] == "it has 3 cells and the header 2"
    assert reasons["line 4"] == "it has 1 cells and the header 2"
    assert reasons["line 5"] == "the text is empty"
    assert reasons["line 6"] == "not UTF-8: byte 0xe9 at character 4"


def test_a_quote_left_open_is_an_error_and_not_one_long_row(write):
    rows = "\n".join(f"good words stand here,{i % 2}" for i in range(9))
    with pytest.raises(LayerwiseError, match="quote that opens in line 3 is never closed"):
        data.open(write(f'text,label\nfirst line is fine,0\n"not closed,1\n{rows}\n'))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", b"", "is empty; its first line must name the columns"),
        ("t.csv", b"text,label\n", "has no rows"),
        ("t.csv", b"a,a,b\n1,2,3\n", "'a' stands there 2 times"),
        ("t.csv", "text\nwords".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("t.csv", b"a\0b\n", "not a text file"),
        ("t.jsonl", b"", "has no rows"),
        ("t.jsonl", b"[1, 2]\nnope\n", "has no rows; line 1: not a JSON object"),
        ("t.parquet", b"PAR?", "cannot be read as Parquet"),
    ],
)
def test_broken_tables_are_one_clear_line(write, name, content, says):
    with pytest.raises(LayerwiseError, match=says) as caught:
        data.open(write(content, name))
    assert "\n" not in str(caught.value)


def test_broken_json_lines_are_set_aside_and_nested_columns_left_out(write):
    good = [json.dumps({"text": text, "tags": ["x"], "n": i}) for i, text in enumerate(TEXTS)]
    samples = data.open(write("\n".join([*good[:6], "{broken", "", *good[6:]]), "t.jsonl"))
    assert len(samples) == 12
    assert samples.set_aside[0].name == "line 7"
    assert samples.set_aside[0].reason.startswith("not JSON")
    assert "column 'tags' is not used: it holds lists or objects" in samples.notes
    assert list(samples.targets) == ["n"]


def test_mixed_types_in_json_are_classes_or_an_error(write):
    rows = [{"text": text, "label": [1, "a", None][i % 3]} for i, text in enumerate(TEXTS)]
    path = write("\n".join(map(json.dumps, rows)), "t.jsonl")
    assert data.open(path).targets["label"].classes == ("1", "a")
    with pytest.raises(LayerwiseError, match="mixes numbers with words"):
        data.open(path, targets=["label:number"])


def test_numbers_where_a_text_should_be_are_set_aside(write):
    rows = [{"text": text} for text in TEXTS] + [{"text": 5}]
    samples = data.open(write("\n".join(map(json.dumps, rows)), "t.jsonl"), text_column="text")
    assert samples.set_aside[0].reason == "'5' is a int and no text"


def test_the_limit_keeps_the_shares_of_sides_and_classes(write):
    rows = [
        (f"text number {i} here", "ab"[i % 4 == 0], ["train", "test"][i % 5 == 0])
        for i in range(200)
    ]
    path = write(lines(["text", "mood", "split"], rows))
    samples = data.open(path, limit=100)
    assert samples.split.count("test") == 20
    assert abs(samples.targets["mood"].values.tolist().count(1) - 25) <= 1


def test_one_class_and_one_sample_per_class_are_said_when_splitting(write):
    rows = [(text, "a", f"u{i}") for i, text in enumerate(TEXTS)]
    samples = data.open(write(lines(["text", "same", "id"], rows)), targets=["same", "id"])
    with pytest.raises(LayerwiseError, match="one class only, 'a'"):
        data.split(samples, "same", seed=0)
    with pytest.raises(LayerwiseError, match="12 classes, but 0 with 3 or more"):
        data.split(samples, "id", seed=0)
