"""Index and search from the command line, with a small network of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

from layerwise.cli import app
from layerwise.models import ImagePreparation, Network


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A small network of pictures, opened whatever name is asked for."""
    opened = _network(seed=0)
    monkeypatch.setattr("layerwise.models.open", lambda *_, **_options: opened)
    return opened


def _network(seed: int) -> Network:
    torch.manual_seed(seed)
    blocks = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU()),
    )
    prepare = ImagePreparation(16, (16, 16), "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Network(
        blocks.eval(),
        name="tiny",
        modality="image",
        prepare=prepare,
        collate=torch.stack,
        example=torch.zeros(1, 3, 16, 16),
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes: pictures of one colour each, with stripes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for kind, colour in (("red", (220, 40, 40)), ("blue", (40, 40, 220))):
        (folder / kind).mkdir(parents=True)
        for number in range(12):
            pixels = np.full((20, 20, 3), colour) + rng.integers(-40, 40, (20, 1, 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / kind / f"{number}.png")
    return folder


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def _invoke(*words: object) -> Result:
    done = _run(*words)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def index(network: Network, pictures: Path, tmp_path: Path) -> Path:
    out = tmp_path / "index"
    done = _invoke("index", pictures, "--network", "tiny", "--layers", "2", "--out", out)
    assert "24 items" in done.stdout
    return out


def test_index_says_what_it_did(network: Network, pictures: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    done = _invoke("index", pictures, "--network", "tiny", "--out", index)
    assert "gain of" in done.stdout
    (pictures / "red" / "0.png").unlink()
    told = json.loads(
        _invoke("index", pictures, "--network", "tiny", "--out", index, "--sync", "--json").stdout
    )
    assert (told["items"], told["added"], told["known"], told["removed"]) == (23, 0, 23, 1)
    assert told["choice"]["scored_on"] > 0
    assert set(told["layers"]) <= {"0", "1", "2", "0.1", "1.1", "2.1", "0.0", "1.0", "2.0"}


def test_search_finds_by_file_name_and_region(index: Path, pictures: Path) -> None:
    file = pictures / "red" / "3.png"
    told = json.loads(_invoke("search", index, file, "blue/2.png", "--k", 3, "--json").stdout)
    by_name = {each["query"]: each["hits"] for each in told}
    assert by_name["blue/2.png"][0]["name"] == "blue/2.png"
    assert by_name[str(file)][0]["name"] == "red/3.png"
    assert {hit["targets"]["class"] for hit in by_name[str(file)]} == {"red"}
    words = ("--k", 4, "--rerank", "--scales", "--expand", 3, "--region", "0,0,0.9,1", "--json")
    hits = json.loads(_invoke("search", index, file, *words).stdout)[0]["hits"]
    assert {hit["targets"]["class"] for hit in hits} == {"red"}
    lines = _invoke("search", index, file, "--k", 2).stdout.splitlines()
    assert lines[0].split() == ["score", "item", "class"]
    assert len(lines) == 4


def test_the_page_shows_what_is_there_and_says_what_is_gone(
    index: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "red" / "3.png").unlink()
    Image.new("RGB", (9, 9)).save(pictures / "red" / "4.png")
    page = tmp_path / "page.html"
    done = _invoke("search", index, pictures / "red" / "5.png", "--k", 12, "--html", page)
    assert f"The page: {page}" in done.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 11
    assert "the file is gone" in text
    assert "the file has changed since it was indexed" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a red bird",), "is neither a file nor an item of the index, and"),
        (("a red bird",), "a text finds pictures only with a network that was trained on both"),
        (("red/1.png", "--k", "25"), "holds 24 items; ask for 1 to 24 of them, not 25"),
        (("FILE", "--region", "1,2"), "give left,top,right,bottom"),
        (("FILE", "--region", "0.5,0,0.2,1"), "give left, top, right and bottom"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    index: Path, pictures: Path, words: tuple[str, ...], message: str
) -> None:
    given = [str(pictures / "red" / "1.png") if word == "FILE" else word for word in words]
    done = _run("search", index, *given)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.strip().count("\n") == 0


def test_no_index_and_another_network_are_one_line(
    index: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _run("search", tmp_path / "nowhere", "x")
    assert done.exit_code == 2
    assert "there is no index at" in done.stderr
    other = _network(seed=1)
    monkeypatch.setattr("layerwise.models.open", lambda *_, **_options: other)
    done = _run("search", index, pictures / "red" / "1.png")
    assert done.exit_code == 2
    assert "an index holds one network" in done.stderr
    done = _run("index", pictures, "--network", "other", "--out", index)
    assert done.exit_code == 2
    assert "an index holds one network" in done.stderr


def test_dedupe_finds_copies_and_their_threshold(
    network: Network, pictures: Path, tmp_path: Path
) -> None:
    picture = Image.open(pictures / "red" / "1.png")
    picture.save(pictures / "red" / "copy.png", optimize=True, compress_level=1)
    page = tmp_path / "copies.html"
    done = _invoke("dedupe", pictures, "--network", "tiny")
    assert "the threshold was found by trying" in done.stdout
    words = ("dedupe", pictures, "--network", "tiny", "--layers", "2", "--threshold", "0.99999")
    told = json.loads(_invoke(*words, "--json", "--html", page).stdout)
    assert ["red/1.png", "red/copy.png"] in [sorted(names) for names in told["groups"]]
    assert "given: cosine 0.99999" in told["words"]
    assert "red/copy.png" in page.read_text()


def test_cluster_parts_what_differs(network: Network, pictures: Path, tmp_path: Path) -> None:
    page = tmp_path / "groups.html"
    words = ("cluster", pictures, "--network", "tiny", "--layers", "0", "--groups", 2)
    told = json.loads(_invoke(*words, "--json", "--html", page).stdout)
    assert [{name.split("/")[0] for name in names} for names in told["groups"]] in (
        [{"red"}, {"blue"}],
        [{"blue"}, {"red"}],
    )
    assert "silhouette" in told["words"]
    assert page.read_text().count("data:image/jpeg") == 24
    done = _run("cluster", pictures, "--network", "tiny", "--layers", "0", "--groups", 99)
    assert done.exit_code == 2
    assert "99 groups of 24 samples" in done.stderr


def test_anomalies_are_named_and_drawn(network: Network, pictures: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    for kind in ("good", "bad"):
        (test / kind).mkdir(parents=True)
    for number in range(3):
        good = Image.open(pictures / "red" / f"{number}.png")
        good.save(test / "good" / f"{number}.png")
        good.paste((0, 255, 0), (6, 6, 12, 12))
        good.save(test / "bad" / f"{number}.png")
    out = tmp_path / "out"
    words = ("anomalies", pictures / "red", test, "--network", "tiny", "--out", out)
    told = json.loads(_invoke(*words, "--json").stdout)
    assert {each["name"].split("/")[0] for each in told["pictures"][:3]} == {"bad"}
    assert told["area_pictures"] == 1.0
    assert 0 <= told["area"] <= 1
    assert (out / "index.html").read_text().count("data:image/jpeg") == 12
    assert len(list((out / "maps").iterdir())) == 6
    assert len((out / "scores.csv").read_text().splitlines()) == 7
    rest = ("--layers", "1", "--judge", "ContrastiveSelectedEmbedding")
    shown = _invoke(*words[:-1], tmp_path / "other", *rest).stdout
    assert "bad/" in shown
    done = _run(*words, "--judge", "Neighbours")
    assert done.exit_code == 2
    assert "no judge of maps" in done.stderr


def test_match_draws_what_two_pictures_share(
    network: Network, pictures: Path, tmp_path: Path
) -> None:
    file, page = pictures / "red" / "1.png", tmp_path / "match.html"
    words = ("match", file, file, "--network", "tiny", "--layers", "0")
    told = json.loads(_invoke(*words, "--json", "--html", page).stdout)
    assert told["layer"] == "0"
    assert all(pair["place"] == pair["other"] for pair in told["pairs"])
    assert told["pairs"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    words_of_two = ("match", file, pictures / "blue" / "2.png", *words[3:])
    scores = [
        pair["score"] for pair in json.loads(_invoke(*words_of_two, "--json").stdout)["pairs"]
    ]
    assert scores == sorted(scores, reverse=True)
    assert page.read_text().count("data:image/jpeg") == 1
    shown = _invoke(*words, "--k", 2).stdout
    assert "are each other's nearest, by 0 of tiny" in shown
    done = _run(*words[:1], file, tmp_path / "gone.png", *words[3:])
    assert done.exit_code == 2
    assert done.stderr.strip().count("\n") == 0
