"""The whole way on a network whose layers are known: the planted layer is found, and honestly."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import layerwise
from layerwise import atlas, data, report
from layerwise.atlas._price import Budget
from layerwise.errors import LayerwiseError


class Planted(nn.Module):
    """Three layers over four numbers: the second squares them, the third forgets all but one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Same(), Square(), Forget()])

    def forward(self, vectors: Tensor) -> Tensor:
        for block in self.blocks:
            vectors = block(vectors)
        return vectors


class Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        with torch.no_grad():
            for linear in (self.a, self.b):
                linear.weight.copy_(torch.eye(4))
                linear.bias.zero_()

    def forward(self, vectors: Tensor) -> Tensor:
        return self.b(self.a(vectors))


class Square(Same):
    def forward(self, vectors: Tensor) -> Tensor:
        return torch.cat([super().forward(vectors)[:, :3], vectors.square().sum(1, True)], 1)


class Forget(Same):
    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(vectors * torch.tensor([1.0, 0.0, 0.0, 0.0]))


@pytest.fixture(scope="module")
def network():
    return layerwise.open(Planted().eval(), example=torch.randn(1, 4), name="planted")


@pytest.fixture(scope="module")
def samples():
    values = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    size = values.square().sum(1)
    rows = [
        (
            row,
            {
                "far": "yes" if s > size.median() else "no",
                "size": float(s),
                "luck": float(noise),
                "both": float(s + 3 * row[3]),
            },
        )
        for row, s, noise in zip(values, size, torch.rand(600), strict=True)
    ]
    return data.open(rows)


@pytest.fixture(scope="module")
def found(network, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    return folder, atlas.survey([network], samples, out=folder, layers="blocks.*")


def test_the_layer_that_holds_the_answer_is_chosen(found):
    choices = {choice.target: choice for choice in found[1].choices}
    for target, least in (("far", 0.9), ("size", 0.95)):
        assert choices[target].best.layer == "blocks.1"
        assert choices[target].best.test > least
        assert choices[target].gain_low > 0.1
        assert choices[target].cheapest.layer == "blocks.1"
        assert "blocks.1" in choices[target].words
    assert choices["luck"].best.test < 0.1


def test_what_no_layer_holds_alone_is_read_from_two(found):
    """The size is known to the second layer only, the last number to the first only."""
    choice = next(choice for choice in found[1].choices if choice.target == "both")
    assert choice.best.layer == "blocks.0 + blocks.1" or choice.best.pooling == "weighted-sum"
    assert choice.best.test > 0.95
    assert choice.gain_low > 0.1
    greedy = [s for s in found[1].scores if s.target == "both" and s.pooling == "greedy"]
    assert [set(s.layer.split(" + ")) for s in greedy] == [{"blocks.0", "blocks.1"}]
    assert greedy[0].test > 0.95
    assert "layerwise.fuse" in choice.code
    compile(choice.code, "code", "exec")


def test_controls_are_at_chance_and_random_weights_are_reported(found):
    chance = {row.target: row.chance for row in found[1].targets}
    for control in found[1].controls:
        assert control.permuted < chance[control.target] + 0.12
        if control.layer in ("blocks.0", "blocks.1", "blocks.2"):
            assert control.random_weights is not None
            assert control.samples == 128


def test_the_folder_holds_all_of_it(found):
    folder, made = found
    assert atlas.load(folder) == made
    plain = json.loads((folder / "atlas.json").read_text())
    assert plain["provenance"]["samples"] == 600
    assert {p.name for p in (folder / "tables").iterdir()} >= {"layers.parquet", "scores.parquet"}
    page = report.write(made, folder)
    assert page.stat().st_size < 10_000_000


def test_a_second_survey_reuses_what_is_there(found, network, samples):
    folder, first = found
    again = atlas.survey([network], samples, out=folder, layers="blocks.*")
    assert again.provenance.reused == {"planted": 600}
    assert again.scores == first.scores
    assert [c.best for c in again.choices] == [c.best for c in first.choices]


def test_a_budget_restricts_the_choice_and_says_what_it_costs(network, samples, tmp_path):
    """The layer that holds the answer needs 320 bytes of parameters, the one before it 160."""
    made = atlas.survey(
        [network],
        samples,
        out=tmp_path,
        targets=["far"],
        layers="blocks.*",
        seeds=(0,),
        budget=Budget(megabytes=0.0002),
    )
    (choice,) = made.choices
    assert choice.best.layer.startswith("blocks.0")
    assert choice.cheapest.layer.startswith("blocks.0")
    assert all(layer.startswith("blocks.0") for _, layer, _, _ in choice.indistinguishable)
    dear = [each for each in made.candidates if not each.affordable]
    assert dear[0].layer.startswith("blocks.1")
    said = f"A budget of 0.0002 MB leaves out {len(dear)} of {len(made.candidates)} ways to read it"
    assert f"{said}, the best of them {dear[0].layer} ({dear[0].test:.3f})." in choice.words
    assert atlas.load(tmp_path) == made


def test_mistakes_are_one_line_each(network, samples, tmp_path):
    for networks, options, says in (
        ([], {}, "give at least one"),
        ([network, network], {}, "each name only once"),
        ([network], {"targets": ["sise"]}, "no target is called 'sise'; nearest: size"),
        ([network], {"layers": "nothing"}, "no layer is called 'nothing'"),
        ([network], {"budget": Budget(megabytes=1e-6)}, "within the budget of 1e-06 MB"),
    ):
        with pytest.raises(LayerwiseError) as caught:
            atlas.survey(networks, samples, out=tmp_path, **options)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(LayerwiseError, match="has no target to read"):
        atlas.survey([network], data.open(torch.randn(40, 4)), out=tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(network, samples, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LayerwiseError, match="cannot be made"):
        atlas.survey([network], samples, out=tmp_path / "file" / "atlas")


def test_when_nothing_can_be_read_the_first_reason_is_given(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(3):
            (folder / f"{i}.png").write_bytes(bytes([i, ord(name)]) * 50)
    samples = data.open(str(tmp_path / "pictures"))
    network = layerwise.open("random:timm:test_resnet")
    with pytest.raises(LayerwiseError, match=r"could be read by every network; 6 were set aside"):
        atlas.survey([network], samples, out=tmp_path / "atlas")
