"""Comparing networks whose relation is known: one fine-tuned from the other, and a deeper one."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import layerwise
from browser import Browser
from layerwise import atlas, data, report
from layerwise.errors import LayerwiseError
from layerwise.models import Network


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.back = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(self.mix(x).relu())


def _network(name: str, *, depth: int = 4, width: int = 8, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, width, 4, stride=2), *(Block(width) for _ in range(depth)))
    return layerwise.open(module.eval(), example=torch.randn(1, 3, 16, 16), name=name)


@pytest.fixture(scope="module")
def samples() -> data.Samples:
    generator = torch.Generator().manual_seed(0)
    colours = torch.randn(80, 3, 1, 1, generator=generator)
    return data.open(colours + 0.5 * torch.randn(80, 3, 16, 16, generator=generator))


@pytest.fixture(scope="module")
def tuned(
    samples: data.Samples, tmp_path_factory: pytest.TempPathFactory
) -> tuple[atlas.Comparison, Path]:
    """A network, and the same one with other weights from its third block on."""
    before = _network("before")
    module = copy.deepcopy(before.module)
    with torch.no_grad():
        for parameter in module[3].parameters():
            parameter.copy_(3 * torch.randn_like(parameter))
    after = layerwise.open(module, example=before.example, name="after")
    out = tmp_path_factory.mktemp("compare") / "new"
    return atlas.compare(before, after, samples, out=out, command="test"), out


def test_what_was_changed_is_found_and_what_was_not_is_the_same(
    tuned: tuple[atlas.Comparison, Path],
) -> None:
    found, _ = tuned
    rows = {row.layer: row for row in found.same}
    for name in ("0", "1", "2"):
        assert rows[name].cka == pytest.approx(1, abs=1e-6)
        assert rows[name].told == pytest.approx(1, abs=1e-3)
        assert rows[name].changed == 0
        assert rows[name].low <= rows[name].cka + 1e-9
    assert rows["3"].cka < 0.9
    assert rows["3"].changed is not None
    assert rows["3"].changed > 1
    assert rows["4"].changed == 0
    assert rows["4"].cka < 0.99
    assert "part at 3" in found.words
    assert "weights of 3 moved most" in found.words


def test_single_places_are_probed_where_there_are_classes(
    tuned: tuple[atlas.Comparison, Path], samples: data.Samples, tmp_path: Path
) -> None:
    assert tuned[0].probed == ()
    labels = torch.arange(80) % 4
    target = data.Target("colour", "class", labels, tuple("abcd"))
    few = replace(samples, targets={"colour": target}).take(range(0, 80, 2))
    found = atlas.compare(_network("one"), _network("two", seed=1), few, out=tmp_path)
    assert {row.network for row in found.probed} == {"one", "two"}
    for row in found.probed:
        assert (row.target, row.samples) == ("colour", 40)
        assert row.single_low <= row.single <= row.single_high
        assert row.gain == pytest.approx(row.pooled - row.single, abs=1e-6)
    page = report.write_comparison(found, tmp_path).read_text()
    assert "What does a single place tell?" in page


def test_matrices_are_those_of_the_measures(
    tuned: tuple[atlas.Comparison, Path], samples: data.Samples
) -> None:
    found, out = tuned
    assert [(s.network, s.other) for s in found.told] == [("before", "after"), ("after", "before")]
    across = next(s for s in found.similarity if s.network != s.other)
    before = layerwise.features.Store.open(out / "features" / "before.lance")
    rows = before.load("3:mean").double()
    after = layerwise.features.Store.open(out / "features" / "after.lance").load("3:mean").double()
    expected = layerwise.measures.cka(rows, after).item()
    place = across.layers.index("3")
    assert across.values[place][place] == pytest.approx(expected, abs=1e-5)
    told = found.told[0].values[place][place]
    assert told == pytest.approx(layerwise.measures.map_r2(rows, after).item(), abs=1e-4)


def test_the_folder_holds_all_of_it_and_a_page(tuned: tuple[atlas.Comparison, Path]) -> None:
    found, out = tuned
    plain = json.loads((out / "comparison.json").read_text())
    assert plain["words"] == found.words
    assert len(plain["matches"]) == len(found.matches)
    page = report.write_comparison(found, out).read_text()
    assert page.startswith("<!doctype html>")
    assert found.words.split(".")[0] in page
    assert "What changed, and where" in page
    assert not re.search(r"(src|href)=\"https?:", page)


def test_a_deeper_copy_has_partners_in_order(samples: data.Samples, tmp_path: Path) -> None:
    small, deep = _network("small", depth=3), _network("deep", depth=6, width=12, seed=1)
    found = atlas.compare(small, deep, samples, out=tmp_path)
    assert found.same == ()
    assert {m.network for m in found.matches} == {"small", "deep"}
    assert all(m.low <= m.cka <= m.high for m in found.matches)
    assert found.enough
    assert "are most alike" in found.words
    again = atlas.compare(small, deep, samples, out=tmp_path)
    assert again.provenance.reused == {"small": 80, "deep": 80}
    assert again.matches == found.matches


def test_mistakes_are_named(samples: data.Samples, tmp_path: Path) -> None:
    network = _network("one")
    with pytest.raises(LayerwiseError, match="each name only once"):
        atlas.compare(network, network, samples, out=tmp_path)
    with pytest.raises(LayerwiseError, match="5 samples could be read by both"):
        atlas.compare(network, _network("two"), samples.take(range(5)), out=tmp_path)


def test_few_samples_are_said(samples: data.Samples, tmp_path: Path) -> None:
    found = atlas.compare(_network("one"), _network("two"), samples.take(range(20)), out=tmp_path)
    assert not found.enough
    assert "20 samples are few" in found.words


def test_the_page_draws_itself_in_a_browser(
    tuned: tuple[atlas.Comparison, Path], tmp_path: Path
) -> None:
    found, out = tuned
    path = report.write_comparison(found, out)
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        browser.wait(f"document.querySelectorAll('.dot.full').length > {2 * len(found.matches)}")
        assert not browser.run("'failed' in document.documentElement.dataset")
        assert not browser.complaints()
