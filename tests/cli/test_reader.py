"""From a table of texts to a reader, and from the reader to tables of answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from layerwise.atlas._tables import writing
from layerwise.cli import app
from layerwise.errors import LayerwiseError
from networks import tiny_bert


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    tiny_bert(folder / "bert")
    with (folder / "fruit.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "colour", "apples"])
        for i in range(80):
            colour, count = ("red", "green")[i % 2], 1 + i % 5
            table.writerow([f"{colour} {'apple ' * count}".strip(), colour, count + i / 1000])
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def reader(place: Path) -> tuple[Path, Result]:
    done = run(
        *("fit", place / "fruit.csv", "--text-column", "text", "--target", "colour"),
        *("--network", f"hf:{place / 'bert'}", "--out", place / "reader"),
    )
    assert done.exit_code == 0, done.output
    return place / "reader", done


def test_fit_writes_a_reader_and_says_what_it_is_worth(reader: tuple[Path, Result]) -> None:
    folder, done = reader
    names = {path.name for path in folder.iterdir()}
    assert names == {"reader.json", "weights.safetensors", "tokenizer.json", "README.md"}
    for words in (
        "front",
        "accuracy ",
        "95 % interval",
        "Calibration error on test samples",
        "Cut: ",
    ):
        assert words in done.stdout


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_writes_every_kind_of_table(
    reader: tuple[Path, Result], place: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "new.txt").write_text("red apple\ngreen apple apple\n\n" + "red " * 30 + "\n")
    out = tmp_path / f"answers.{suffix}"
    done = run("predict", reader[0], tmp_path / "new.txt", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["rows"], told["truncated"]) == (3, 1)
    rows = {
        "csv": lambda: list(csv.DictReader(out.read_text().splitlines())),
        "jsonl": lambda: [json.loads(line) for line in out.read_text().splitlines()],
        "parquet": lambda: pq.read_table(out).to_pylist(),
    }[suffix]()
    assert [row["colour"] for row in rows] == ["red", "green", "red"]
    assert 0.5 <= float(rows[0]["probability"]) <= 1
    assert list(rows[0]) == [
        *("name", "colour", "probability", "probability of green", "probability of red"),
        *("unfamiliar", "strangeness"),
    ]


def test_embed_writes_features(reader: tuple[Path, Result], place: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    done = run("embed", reader[0], place / "fruit.csv", "--text-column", "text", "--out", out)
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == 80
    assert {len(row["features"]) for row in rows} == {16}


def test_quantities_with_intervals_from_two_networks(place: Path, tmp_path: Path) -> None:
    tiny_bert(tmp_path / "other")
    common = ("fit", place / "fruit.csv", "--text-column", "text", "--target", "apples")
    both = ("-n", f"hf:{place / 'bert'}", "-n", f"hf:{tmp_path / 'other'}")
    done = run(*common, *both, "--out", tmp_path / "reader", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {c["network"] for c in told["candidates"]} == {"bert", "other"}
    assert told["candidates"][0]["level"]
    assert told["candidates"][0]["network"] == told["facts"]["network"]
    assert told["facts"]["quality"]["covered"] > 0.7
    cheap = run(*common, *both, "--out", tmp_path / "none", "--budget-mb", "0.0000001")
    assert cheap.exit_code == 2
    assert "nothing that reads 'apples' is within the budget" in cheap.stderr


def test_few_shots_choose_and_fit(place: Path, tmp_path: Path) -> None:
    done = run(
        *("fit", place / "fruit.csv", "--text-column", "text", "--target", "colour"),
        *("--network", f"hf:{place / 'bert'}", "--shots", 3, "--out", tmp_path / "reader"),
    )
    assert done.exit_code == 0, done.output
    assert "Fitted on 3 samples of each class and chosen on as many; 10 other draws" in done.stdout
    assert "| with 10 other draws of 3 a class |" in (tmp_path / "reader/README.md").read_text()


def test_export_compares_the_file_with_the_reader(
    reader: tuple[Path, Result], place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fruit.onnx"
    words = ("export", reader[0], place / "fruit.csv", "--text-column", "text", "--out", out)
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["samples"] == 80
    assert told["difference"] < 1e-4
    assert told["megabytes"][1] == pytest.approx(out.stat().st_size / 1e6)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("fruit.onnx", "fruit.json", "tokenizer.json"),
    }
    program = run("export", reader[0], "--limit", 5, "--out", tmp_path / "fruit.pt2")
    assert program.exit_code == 0, program.output
    assert "5 samples: answers differ by" in program.stdout
    assert "ms, 32" in program.stdout


def test_mistakes_are_one_line_each(
    reader: tuple[Path, Result], place: Path, tmp_path: Path
) -> None:
    data = place / "fruit.csv"
    network = ("--network", f"hf:{place / 'bert'}", "--out", tmp_path / "new")
    for words, says in (
        (("fit", data, "-t", "color", *network), "no target is called 'color'; nearest: colour"),
        (("fit", data, "-t", "colour", "--fusion", "gready", *network), "nearest: greedy"),
        (("fit", data, "-t", "colour", "--readout", "line", *network), "nearest: linear"),
        (
            *(("fit", data, "-t", "colour", "--fusion", "greedy", "--budget-ms", 5, *network),),
            "a budget of 5 ms chooses among layers",
        ),
        (("export", reader[0], "--out", tmp_path / "a.xml"), "end it in .onnx"),
        (("export", tmp_path, "--out", tmp_path / "a.onnx"), "is no reader"),
        (("predict", tmp_path, data, "--out", tmp_path / "a.csv"), "is no reader"),
        (("predict", reader[0], data, "--out", tmp_path / "a.xls"), "end it in .csv"),
        (("predict", reader[0], "photos", "--limit", 3, "--out", tmp_path / "a.csv"), "'image'"),
    ):
        done = run(*words)
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1].startswith("layerwise: ")
        assert says in done.stderr


def test_a_table_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    def stopped() -> None:
        with writing(tmp_path / "a.csv") as write:
            write([{"name": "one"}])
            raise LayerwiseError("stopped")

    with pytest.raises(LayerwiseError, match="stopped"):
        stopped()
    assert not list(tmp_path.iterdir())
