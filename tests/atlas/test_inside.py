"""The look inside, against pictures and features whose answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import layerwise
from layerwise import atlas, data
from layerwise.atlas._inside import units_of
from layerwise.atlas._look import look
from layerwise.data import Samples, Target
from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, Network


@pytest.fixture(scope="module")
def colours() -> Network:
    """Gives pictures back as they are, four pixels a place, and then their mean."""
    first = nn.Conv2d(3, 3, 4, stride=4, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16)
    module = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    prepare = ImagePreparation((32, 32), None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return layerwise.open(
        module.eval(), example=torch.zeros(1, 3, 32, 32), prepare=prepare, name="colours"
    )


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Pictures that are red on one side and green on the other, and two that are all blue."""
    folder = tmp_path_factory.mktemp("halves")
    for i in range(40):
        picture = Image.new("RGB", (32, 32), (0, 0, 255) if i in (3, 4) else (255, 0, 0))
        if i not in (3, 4):
            picture.paste((0, 255, 0), (0, 0, 16, 32) if i % 2 else (16, 0, 32, 32))
        picture.putpixel((0, 0), (0, 0, 5 * i))  # no two are the same
        (folder / ("left" if i % 2 else "right")).mkdir(exist_ok=True)
        picture.save(folder / ("left" if i % 2 else "right") / f"{i:02}.png")
    return data.open(str(folder))


def test_concepts_lie_where_the_colours_are(colours: Network, halves: Samples) -> None:
    found = look(colours, halves, range(5, 29), ["1", "3"])
    assert [each.sample for each in found.looked] == [0, 4, 8, 12, 16, 20]
    concepts, left_out = found.concepts["1"]
    assert "3" not in found.concepts  # it has no places
    assert left_out == pytest.approx(0, abs=0.02)
    assert sum(each.presence for each in concepts) == pytest.approx(1)
    assert (concepts[0].rows, concepts[0].columns) == (8, 8)
    for each in concepts[:2]:
        for heat in each.heat:
            # The place in the corner has one pixel of another colour.
            rows = [heat[8 * r : 8 * r + 8].replace("8", "9") for r in range(8)]
            assert set(rows) in ({"99990000"}, {"00009999"})
    assert concepts[0].heat[0] != concepts[1].heat[0]


def test_units_are_told_by_the_class_of_unseen_samples() -> None:
    values = torch.arange(40) % 4
    target = Target("kind", "class", values, ("a", "b", "c", "d"))
    features = torch.rand(40, 5) * 0.1
    features[values == 2, 3] += torch.linspace(1, 2, 10)
    train, test = torch.arange(20), torch.arange(20, 40)
    (unit, *_) = units_of(features, {"kind": target}, train=train, test=test, layers=1)
    assert (unit.unit, unit.target, unit.answer) == (3, "kind", "c")
    strongest = features[:20, 3].topk(5).indices.tolist()
    assert list(unit.samples) == strongest
    assert unit.found == 1.0
    assert unit.chance == 0.25
    some, others = features[:20, 3].double(), features[20:, 3].double()
    height = (others.topk(5).values.mean() - some.mean()) / some.std(correction=0)
    assert unit.selective == pytest.approx(height.item(), rel=1e-4)


def test_units_without_a_class_to_tell_have_no_words() -> None:
    features, rows = torch.rand(40, 5), torch.arange(40)
    number = Target("size", "number", torch.rand(40))
    found = units_of(features, {"size": number}, train=rows[:20], test=rows[20:], layers=1)
    assert [(unit.target, unit.answer) for unit in found] == [("", "")] * len(found)
    assert units_of(features, {}, train=rows[:0], test=rows, layers=1) == ()
    many = units_of(features, {}, train=rows[:20], test=rows[20:], layers=1000)
    assert len(many) == 1


def test_a_survey_looks_inside(colours: Network, halves: Samples, tmp_path: Path) -> None:
    made = atlas.survey([colours], halves, out=tmp_path, layers="1, 3")
    assert atlas.load(tmp_path) == made
    assert [each.layer for each in made.inside] == ["1", "3"]
    assert made.inside[0].concepts
    assert not made.inside[1].concepts
    shown = {i for each in made.inside for unit in each.units for i in unit.samples}
    assert shown == set(range(len(made.exemplars)))
    assert {each.split for each in made.exemplars} == {"train"}
    assert all(each.picture.startswith("data:image/jpeg") for each in made.looked)
    assert {each.sample for each in made.pictures} == {each.sample for each in made.looked}


def test_units_are_drawn_where_that_is_asked_for(
    colours: Network, halves: Samples, tmp_path: Path
) -> None:
    told: list[str] = []
    options = {"out": tmp_path, "layers": "1", "visualize": 1}
    made = atlas.survey([colours], halves, **options, progress=lambda stage, *_: told.append(stage))
    (inside,) = made.inside
    first, *others = inside.units
    assert first.picture.startswith("data:image/jpeg")
    assert 0 < first.above <= 1
    assert not any(unit.picture for unit in others)
    assert told.count(f"drawing unit 1 {first.unit}") == 64
    assert atlas.load(tmp_path) == made
    told.clear()
    again = atlas.survey(
        [colours], halves, **options, progress=lambda stage, *_: told.append(stage)
    )
    assert again.inside == made.inside
    assert f"drawing unit 1 {first.unit}" not in told  # it was kept


def test_what_takes_no_pictures_is_not_drawn_for(halves: Samples, tmp_path: Path) -> None:
    rows = layerwise.open(nn.Linear(4, 2).eval(), example=torch.zeros(1, 4))
    with pytest.raises(LayerwiseError, match="pictures"):
        atlas.survey([rows], halves, out=tmp_path, visualize=1)
