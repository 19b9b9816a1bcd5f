"""Every command answers on standard output and says the rest on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

import layerwise
from layerwise._catalogue import catalogue
from layerwise.cli import app
from layerwise.cli._output import counted

PROGRAM = (sys.executable, "-c", "from layerwise.cli import main; main()")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> layerwise.Network:
    """A small network of two blocks, opened whatever name is asked for."""
    torch.manual_seed(0)
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)))
    opened = layerwise.open(blocks, example=torch.zeros(1, 8), name="tiny")
    monkeypatch.setattr("layerwise.models.open", lambda *_, **_options: opened)
    return opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two clouds of points in a file, with their side and their distance as targets."""
    rows = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    side = np.arange(90) % 2
    rows[:, 0] += 4 * side
    path = tmp_path / "points.npz"
    np.savez(path, points=rows, side=side.astype(str), distance=rows[:, 0].astype(float))
    return path


def _invoke(*words: object) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


def test_networks_names_the_starters_and_the_others() -> None:
    done = _invoke("networks")
    assert "efficientnet-lite0" in done.stdout
    assert "timm:NAME" in done.stdout
    told = json.loads(_invoke("networks", "--json").stdout)
    assert [starter["name"] for starter in told] == [s.name for s in layerwise.models.starters()]


def test_layers_lists_every_layer(network: layerwise.Network) -> None:
    lines = _invoke("layers", "tiny").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [layer.name for layer in network.layers]
    told = json.loads(_invoke("layers", "tiny", "--layers", "1.0", "--json").stdout)
    assert [(layer["name"], layer["parameters"]) for layer in told] == [("1.0", 72)]


def test_a_pattern_that_matches_nothing_is_one_line(network: layerwise.Network) -> None:
    done = CliRunner().invoke(app, ["layers", "tiny", "--layers", "1.9"])
    assert done.exit_code == 2
    assert done.stderr.startswith("layerwise: no layer is called '1.9'; nearest: ")


def test_extract_writes_a_store_that_plain_lance_opens(
    network: layerwise.Network, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "points.lance"
    words = ("extract", data, "--network", "tiny", "--layers", "re:[01]", "--out", out)
    told = json.loads(_invoke(*words, "--json").stdout)
    assert (told["rows"], told["computed"], told["reused"]) == (90, 90, 0)
    assert [column["name"] for column in told["columns"]] == ["0:mean", "1:mean"]
    table = lance.dataset(str(out)).to_table(columns=["name", "target:side", "1:mean"])
    assert table.num_rows == 90
    again = _invoke(*words)
    assert again.stdout.rstrip().endswith("0 computed, 90 reused")


def test_extract_takes_a_part(network: layerwise.Network, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "points.lance"
    words = ("extract", data, "--network", "tiny", "--out", out, "--limit", 20, "--target", "side")
    assert json.loads(_invoke(*words, "--json").stdout)["rows"] == 20
    assert "target:distance" not in lance.dataset(str(out)).schema.names


def test_atlas_answers_and_writes_the_page(
    network: layerwise.Network, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "atlas"
    words = ("atlas", data, "--network", "tiny", "--layers", "re:[0-2]", "--out", out)
    done = _invoke(*words)
    assert f"The page: {out / 'index.html'}" in done.stdout
    assert "90 samples" in done.stderr
    assert "reused" not in done.stderr
    assert (out / "index.html").read_text().startswith("<!doctype html>")
    again = _invoke(*words, "--json")
    assert "reused the features of 90 samples of tiny" in again.stderr
    choices = {choice["target"]: choice for choice in json.loads(again.stdout)["choices"]}
    assert choices.keys() == {"side", "distance"}
    assert choices["side"]["best"]["test"] > 0.8
    saved = layerwise.atlas.load(out)
    assert saved.provenance.command.startswith("layerwise")
    assert saved.provenance.seeds == (0, 1, 2)


def test_demo_is_the_atlas_of_the_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(
        "layerwise.cli._demo.survey", lambda data, **rest: given.update(rest, data=data)
    )
    _invoke("demo", "--limit", 5, "--out", "elsewhere")
    assert (given["data"], given["networks"]) == ("photos", ["efficientnet-lite0"])
    assert (given["limit"], given["out"]) == (5, Path("elsewhere"))


@pytest.mark.weights
@pytest.mark.slow
def test_the_demo_runs_as_a_program(tmp_path: Path) -> None:
    words = ("demo", "--limit", "60", "--out", str(tmp_path / "demo"))
    done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False)
    if "could not download" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "index.html").stat().st_size > 10_000
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_list_shows_and_searches_the_catalogue() -> None:
    lines = _invoke("list").stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [f"{e.room}.{e.name}" for e in catalogue()]
    found = json.loads(_invoke("list", "--room", "measures", "--search", "cka", "--json").stdout)
    assert {entry["room"] for entry in found} == {"measures"}
    assert found[0]["name"].lower() == "cka"


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    words = ["atlas", str(tmp_path / "nowhere"), "--network", "x", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_pipe_that_closes_early_is_no_error() -> None:
    listing = subprocess.Popen([*PROGRAM, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    said = listing.stderr.read()
    listing.wait()
    listing.stderr.close()
    assert b"Traceback" not in said


def test_a_narrow_terminal_loses_no_letter() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen([*PROGRAM, "networks"], stdout=follower, env=environment):
        os.close(follower)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", "".join(_read(leader)))
    os.close(leader)
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 40


def _read(terminal: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # the way in which a terminal ends
        while part := os.read(terminal, 4096):
            yield part.decode(errors="replace")


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (1000, "1k"), (4_652_008, "4.65M"), (25 * 10**11, "2.5T")],
)
def test_counts_have_three_digits(number: int, words: str) -> None:
    assert counted(number) == words
