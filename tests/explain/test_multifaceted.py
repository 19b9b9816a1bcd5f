"""Facets of units that are made of two things, and what keeps an ascent in the middle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor, nn

import layerwise
from explain.photographs import crops
from layerwise.errors import LayerwiseError
from layerwise.explain import multifaceted
from layerwise.explain._multifaceted import _bent
from layerwise.explain._pixels import Pixels
from layerwise.explain.laws import check_restored
from layerwise.models import Network


@pytest.fixture
def two_colours() -> Network:
    """Unit 0 answers to red, and as well to blue, but not to both at once."""
    first = nn.Conv2d(3, 2, 1)
    first.weight.data[:] = torch.tensor([[1.0, -1, -1], [-1, -1, 1]]).view(2, 3, 1, 1)
    first.bias.data.zero_()
    last = nn.Conv2d(2, 1, 1)
    last.weight.data.fill_(1)
    last.bias.data.zero_()
    module = nn.Sequential(first, nn.ReLU(), last).eval()
    return layerwise.open(module, example=torch.zeros(1, 3, 12, 12))


def test_finds_both_colours_of_a_unit(two_colours: Network) -> None:
    image = 0.2 * torch.rand(30, 3, 12, 12)
    image[:15, 0] += 0.6
    image[15:, 2] += 0.6
    seen = multifaceted(two_colours, image, layer="2", code="0", facets=2, nearest=15, steps=40)
    first = int(seen.members[0])
    assert seen.members.tolist() == 15 * [first] + 15 * [1 - first]
    assert seen.shares.tolist() == [0.5, 0.5]
    means = torch.stack([image[:15].mean(0), image[15:].mean(0)])
    torch.testing.assert_close(seen.starts[[first, 1 - first]], means)
    red, blue = seen.pictures[first].mean((1, 2)), seen.pictures[1 - first].mean((1, 2))
    assert red.argmax() == 0
    assert blue.argmax() == 2
    assert bool((seen.reached > 0.6).all())
    assert seen.likeness[0, 1] < 0.5


def test_few_pictures_are_clustered_as_scikit_learn_does(two_colours: Network) -> None:
    image = torch.rand(40, 3, 12, 12) * torch.rand(40, 3, 1, 1)
    seen = multifaceted(two_colours, image, layer="2", code="0", facets=3, top=30, steps=1)
    with torch.no_grad():
        answers = two_colours(image).mean((1, 2, 3))
        codes = two_colours.module[0](image).mean((2, 3))
    order = answers.argsort(descending=True)[:30]
    assert (seen.members[order] >= 0).all()
    assert (seen.members == -1).sum() == 10
    rows = PCA(2).fit_transform(codes[order].double().numpy())
    expected = KMeans(3, n_init=10, random_state=0).fit_predict(rows)
    pairs = set(zip(expected.tolist(), seen.members[order].tolist(), strict=True))
    assert len(pairs) == 3


def test_steps_begin_in_the_middle_and_get_shorter() -> None:
    gradient = torch.ones(3, 21, 21)
    early, late = _bent(gradient, 0.0), _bent(gradient, 1.0)
    assert early[:, 10, 10].mean() > 100 * early[:, 0, 0].mean()
    assert late[:, 10, 10].mean() < 2 * late[:, 0, 0].mean()
    assert early.square().mean().sqrt() == pytest.approx(1)
    assert late.square().mean().sqrt() == pytest.approx(0.1)


def test_everything_is_as_before() -> None:
    check_restored(lambda network, image, _: multifaceted(network, image, facets=2, steps=1))


def test_mistakes_are_named(two_colours: Network) -> None:
    image = torch.rand(3, 3, 12, 12)
    with pytest.raises(LayerwiseError, match="one picture has no facets"):
        multifaceted(two_colours, image[:1])
    with pytest.raises(LayerwiseError, match="0 facets"):
        multifaceted(two_colours, image, facets=0)
    with pytest.raises(LayerwiseError, match="no unit 7"):
        multifaceted(two_colours, image, layer="0", unit=7)


SCENES = (("cat", "coffee"), ("flower", "rocket"), ("china", "motorcycle"))


@pytest.mark.weights
@pytest.mark.slow
def test_two_scenes_are_two_facets(lite: Network, claim: Callable[..., None]) -> None:
    pixels = Pixels.of(lite)
    purity, facets, single, likeness, chance = [], [], [], [], []
    for seed, scenes in enumerate(SCENES):
        image = torch.cat([crops(50, 80, seed=seed, only=(scene,)) for scene in scenes])
        batch = pixels.feed(image)
        with torch.no_grad():
            logits = torch.cat([lite(part) for part in batch.split(40)])
        classes = [int(part.mean(0).argmax()) for part in logits.split(50)]
        unit = torch.zeros(1000)
        unit[classes] = 1
        run = {"unit": unit, "code": "blocks.5.3", "steps": 30, "generator": _seeded(seed)}
        seen = multifaceted(lite, batch, facets=2, **run)
        truth = torch.arange(100) // 50
        agree = (seen.members == truth).double().mean().item()
        purity.append(max(agree, 1 - agree))
        facets.append(seen.reached.mean().item())
        likeness.append(seen.likeness[0, 1].item())
        whole = multifaceted(lite, batch, facets=1, nearest=100, **run)
        single.append(whole.reached.item())
        noise = pixels.feed(torch.rand(2, 3, 80, 80, generator=_seeded(seed)))
        two = multifaceted(lite, noise, facets=2, nearest=1, **run)
        chance.append(two.likeness[0, 1].item())
    found = {
        "purity": purity,
        "answer, facets": facets,
        "answer, one from the mean of all": single,
        "cosine of codes, facets": likeness,
        "cosine of codes, random starts": chance,
    }
    means = {name: float(np.mean(values)) for name, values in found.items()}
    pure = min(purity) > 0.9
    answered = means["answer, facets"] >= means["answer, one from the mean of all"]
    apart = means["cosine of codes, facets"] < means["cosine of codes, random starts"]
    claim(
        paper="P095",
        says="The sum of two classes of EfficientNet-Lite0, 50 crops of each of two photographs, 3 "
        "pairs: 2 facets are the photographs (purity over 0.9); their pictures reach the answer of "
        "one picture started from the mean of all, and their codes differ more than those of two "
        "random starts",
        measured=means,
        holds=pure and answered and apart,
    )
    assert pure
    assert answered


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_seeds_and_shapes_of_crops() -> None:
    one, again, other = (crops(7, 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert _between(one)


def _between(image: Tensor) -> bool:
    return image.shape == (7, 3, 20, 20) and 0 <= float(image.min()) <= float(image.max()) <= 1
