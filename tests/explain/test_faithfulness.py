"""Known causes are found, and the judges tell a good explanation from a bad one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from captum import attr
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import (
    covered,
    faithfulness,
    grad_cam,
    gradient_x_input,
    occlusion,
    randomisation,
)
from layerwise.explain._randomisation import rank_correlation
from layerwise.models import Network

SIDE = 24


class Patch(nn.Module):
    """Class 0 is a bright patch in the middle, and nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.say = nn.Linear(4, 2)
        nn.init.constant_(self.look.weight, 0.1)
        nn.init.constant_(self.say.weight, 0.4)
        self.say.weight.data[1] *= -1

    def forward(self, pictures: Tensor) -> Tensor:
        seen = torch.relu(self.look(pictures))[:, :, 9:15, 6:12]
        return self.say(seen.mean((2, 3)))


@pytest.fixture(scope="module")
def known() -> tuple[Network, Tensor, Tensor, Tensor]:
    """A network with a known cause, pictures, labels, and where the cause is."""
    network = layerwise.open(Patch().eval(), example=torch.zeros(1, 3, SIDE, SIDE))
    inputs = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    cause = torch.zeros(3, 1, SIDE, SIDE)
    cause[:, :, 8:16, 5:13] = 1
    return network, inputs, torch.zeros(3, dtype=torch.long), cause


def test_a_known_cause_is_found(known: tuple[Network, Tensor, Tensor, Tensor]) -> None:
    network, inputs, labels, cause = known
    found = {
        "gradient x input": gradient_x_input(network, inputs, labels),
        "occlusion": occlusion(network, inputs, labels, window=2, stride=1),
        "Grad-CAM": grad_cam(network, inputs, labels, layers="look")["look"],
    }
    inside = {n: roc_auc_score(cause.flatten(), heat.flatten()) for n, heat in found.items()}
    assert inside["gradient x input"] > 0.99
    assert inside["occlusion"] > 0.99
    assert inside["Grad-CAM"] < 0.7  # it weighs channels, and these see the whole picture alike
    scores = {
        n: faithfulness(network, inputs, labels, heat).score.mean() for n, heat in found.items()
    }
    truth = faithfulness(network, inputs, labels, cause).score.mean()
    assert truth > 0.2
    assert scores["gradient x input"] > 0.9 * truth
    assert scores["occlusion"] > 0.9 * truth
    assert scores["Grad-CAM"] < 0.5 * truth


def test_random_explanations_score_zero(known: tuple[Network, Tensor, Tensor, Tensor]) -> None:
    network, inputs, labels, cause = known
    chance = torch.stack([
        faithfulness(network, inputs, labels, torch.rand(3, 1, 6, 6), draws=5).score
        for _ in range(10)
    ])  # fmt: skip
    truth = faithfulness(network, inputs, labels, cause).score.mean()
    assert abs(chance.mean()) < 0.25 * truth


def test_areas_equal_those_of_curves_by_hand(known: tuple[Network, Tensor, Tensor, Tensor]) -> None:
    network, inputs, labels, _ = known
    heat = torch.rand(3, 1, SIDE, SIDE)
    found = faithfulness(network, inputs, labels, heat, steps=4)
    for i in range(3):
        order = heat[i].flatten().argsort(descending=True)
        gone = []
        for k in range(5):
            picture = inputs[i].clone().flatten(1)
            picture[:, order[: round(k / 4 * SIDE * SIDE)]] = 0
            said = network.module(picture.view(1, 3, SIDE, SIDE)).softmax(1)[0, 0]
            gone.append(said.item())
        area = sum((a + b) / 2 for a, b in pairwise(gone)) / 4
        assert found.deletion[i].item() == pytest.approx(area, abs=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 4), (5, 3)])
def test_occlusion_equals_captum(
    known: tuple[Network, Tensor, Tensor, Tensor], window: int, stride: int
) -> None:
    network, inputs, labels, _ = known
    found = occlusion(network, inputs, labels, window=window, stride=stride)
    expected = attr.Occlusion(network.module).attribute(
        inputs, (3, window, window), strides=(3, stride, stride), target=labels
    )
    torch.testing.assert_close(found[:, 0], expected[:, 0].detach(), rtol=1e-4, atol=1e-5)


def test_rank_correlation_equals_scipy() -> None:
    one, other = torch.randint(0, 5, (2, 3, 1, 4, 5)).float()
    expected = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(one, other, strict=True)]
    torch.testing.assert_close(rank_correlation(one, other), torch.tensor(expected).float())
    assert rank_correlation(one, torch.zeros_like(one)).tolist() == [0, 0, 0]


def test_scrambling_leaves_edges_and_changes_what_was_learnt() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 12 * 12, 4),
    )  # fmt: skip
    network = layerwise.open(module.eval(), example=torch.zeros(1, 3, 12, 12))
    inputs, labels = torch.rand(3, 3, 12, 12), torch.tensor([0, 1, 2])
    learnt = randomisation(network, inputs, labels)
    assert learnt.likeness.shape == (3, 3)
    assert bool((learnt.left.abs() < 0.3).all())
    edges = randomisation(network, inputs, labels, explain=lambda _, pictures, __: pictures)
    assert bool((edges.likeness > 0.999).all())


def test_a_part_is_shown_and_the_rest_covered() -> None:
    network = layerwise.open(nn.Linear(3, 2), example=torch.zeros(1, 3))
    inputs, keep = torch.rand(2, 3), torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    torch.testing.assert_close(
        covered(network, inputs, keep=keep), network.module(inputs * keep).detach()
    )
    torch.testing.assert_close(
        covered(network, inputs, keep=keep, cover=torch.ones(2, 3)),
        network.module(torch.where(keep > 0, inputs, 1)).detach(),
    )


def test_mistakes_are_told(known: tuple[Network, Tensor, Tensor, Tensor]) -> None:
    network, inputs, labels, cause = known
    mistakes = [
        (lambda: occlusion(network, inputs, labels, window=30), "window=30"),
        (lambda: covered(network, inputs, keep=torch.ones(3, 5)), "24 x 24 places"),
        (lambda: faithfulness(network, inputs, labels, cause / 0), "not finite"),
        (lambda: faithfulness(network, inputs, labels, torch.ones(3, 5, 1)), "does not fit"),
        (lambda: faithfulness(network, inputs, labels, cause, steps=0), "at least 1"),
        (lambda: randomisation(network, inputs, labels, shares=(2.0,)), "at most 1"),
    ]
    for mistake, message in mistakes:
        with pytest.raises(LayerwiseError, match=message):
            mistake()
