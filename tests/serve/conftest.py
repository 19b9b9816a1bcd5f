"""Small folders of each kind that can be served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import layerwise
from layerwise import atlas, data, search
from networks import tiny_bert, tiny_clip
from served import client_of

NETWORK = "random:timm:test_efficientnet"
LAYERS = "blocks.0, blocks.2.0"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def pictures(place: Path) -> Path:
    """Two classes: pictures of one colour each, with stripes."""
    rng = np.random.default_rng(0)
    folder = place / "pictures"
    for kind, colour in (("red", (220, 40, 40)), ("blue", (40, 40, 220))):
        (folder / kind).mkdir(parents=True)
        for number in range(20):
            pixels = np.tile(np.array(colour, np.uint8), (48, 48, 1))
            pixels[:: 3 + number % 5] = rng.integers(0, 255, 3)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def network() -> layerwise.Network:
    return layerwise.open(NETWORK)


@pytest.fixture(scope="session")
def reader(place: Path, pictures: Path, network: layerwise.Network) -> Path:
    """A reader of classes of pictures."""
    fitted = atlas.fit_reader(network, data.open(pictures), "class", layers="blocks.1.0")
    atlas.save_reader(fitted, place / "reader")
    return place / "reader"


@pytest.fixture(scope="session")
def text_reader(place: Path) -> Path:
    """A reader of a quantity of texts."""
    network = layerwise.open(f"hf:{tiny_bert(place / 'bert')}")
    texts = [("red " + "apple " * (1 + i % 5), {"apples": 1 + i % 5 + i / 1000}) for i in range(60)]
    fitted = atlas.fit_reader(network, data.open(texts), "apples", layers="encoder.layer.0")
    atlas.save_reader(fitted, place / "text-reader")
    return place / "text-reader"


@pytest.fixture(scope="session")
def index(place: Path, pictures: Path, network: layerwise.Network) -> Path:
    """An index of pictures by two layers."""
    search.index_samples(network, data.open(pictures), place / "index", layers=LAYERS)
    return place / "index"


@pytest.fixture(scope="session")
def both_index(place: Path, pictures: Path) -> Path:
    """An index of pictures that texts find as well."""
    network = layerwise.open(f"hf:{tiny_clip(place / 'clip')}#image")
    search.index_samples(network, data.open(pictures), place / "both", layers="joint")
    return place / "both"


@pytest.fixture(scope="session")
def text_index(place: Path, text_reader: Path) -> Path:
    """An index of texts."""
    table = place / "fruit.txt"
    table.write_text("red apple\ngreen apple\nred red red apple\ngreen\n")
    network = layerwise.open(f"hf:{place / 'bert'}")
    search.index_samples(network, data.open(table), place / "texts", layers="encoder.layer.1")
    return place / "texts"


@pytest.fixture(scope="session")
def surveyed(place: Path, pictures: Path, network: layerwise.Network) -> Path:
    """An atlas of pictures."""
    samples = data.open(pictures)
    atlas.survey([network], samples, out=place / "atlas", layers=LAYERS, seeds=(0,))
    return place / "atlas"


@pytest.fixture
def asked(reader: Path) -> TestClient:
    """A client of the reader of pictures."""
    return client_of(reader)
