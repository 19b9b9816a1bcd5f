"""Prototypes: their loss written out in loops, where they come from, and digits at borders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize, unfold

from layerwise.errors import LayerwiseError
from layerwise.explain import SupportTrivialPrototypes
from layerwise.explain._prototypes import Branch, _loss


def _similar(one: Tensor, other: Tensor) -> Tensor:
    return cosine_similarity(one, other, dim=0)


@pytest.mark.parametrize("support", [0, 1])
def test_the_loss_is_that_of_the_paper_written_out(support: int) -> None:
    branch, maps, index = Branch(6, 3, 2, 4), torch.rand(9, 6, 2, 3), torch.arange(9) % 3
    found = _loss(branch, maps, index, support)
    patches, prototypes = branch.head(maps).flatten(2), branch.prototypes
    near = torch.stack(
        [
            torch.stack([cosine_similarity(p[:, None], sample, dim=0).max() for p in kinds])
            for sample in patches
            for kinds in prototypes
        ]
    ).view(9, 3, 2)
    scores = near.flatten(1) @ branch.weight.T
    cluster = torch.stack([near[i, index[i]].max() for i in range(9)]).mean()
    others = [[k for k in range(3) if k != index[i]] for i in range(9)]
    separation = torch.stack([near[i, others[i]].max() for i in range(9)]).mean()
    orthogonal = sum(
        (normalize(p, dim=1) @ normalize(p, dim=1).T - torch.eye(2)).abs().sum() for p in prototypes
    )
    pairs = [
        torch.stack([_similar(p, q) for p in prototypes[a] for q in prototypes[b]])
        for a, b in permutations(range(3), 2)
    ]
    closeness = -torch.stack([pair.min() for pair in pairs]).mean()
    discrimination = torch.stack([pair.max() for pair in pairs]).mean()
    foreign = branch.weight.abs().sum() - sum(
        branch.weight[k, 2 * k : 2 * k + 2].abs().sum() for k in range(3)
    )
    expected = (
        cross_entropy(scores, index)
        - 0.8 * cluster
        + (0.48 if support else 0.08) * separation
        + 1e-3 * orthogonal
        + (closeness if support else discrimination)
        + 1e-4 * foreign
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_every_prototype_is_a_place_of_a_picture_of_its_class() -> None:
    maps, labels = torch.rand(24, 6, 3, 3), torch.tensor([4, 7]).repeat(12)
    found = SupportTrivialPrototypes.fit(maps, labels, count=3, epochs=3)
    for branch, places in zip((found.trivial, found.support), found.places, strict=True):
        for label, kinds in enumerate(places):
            for number, (sample, row, column) in enumerate(kinds.tolist()):
                assert labels[sample] == found.classes[label]
                patch = branch.head(maps[sample : sample + 1])[0, :, row, column]
                likeness = _similar(patch, branch.prototypes[label, number])
                assert likeness.item() == pytest.approx(1, abs=1e-4)
    with pytest.raises(LayerwiseError, match="1 classes, 5 prototypes"):
        SupportTrivialPrototypes.fit(maps, labels * 0)


def _patches() -> tuple[Tensor, Tensor]:
    """Digits as maps of their 5 x 5 patches."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16).float().unsqueeze(1)
    return unfold(images, 5).unflatten(2, (4, 4)), torch.tensor(digits.target)


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return (scores.argmax(1) == labels).double().mean().item()


def test_support_prototypes_lie_nearer_to_the_borders(claim: Callable[..., None]) -> None:
    maps, labels = _patches()
    train, test = slice(0, 1000), slice(1000, 1797)
    runs: list[dict[str, float]] = []
    for seed in range(3):
        found = SupportTrivialPrototypes.fit(maps[train], labels[train], epochs=25, seed=seed)
        branches = {"trivial": found.trivial, "support": found.support}
        between = {name: branch.between() for name, branch in branches.items()}
        other = ~torch.eye(10, dtype=torch.bool)
        run = {
            f"closest of other classes, {name}": pairs[other].flatten(1).amax(1).mean().item()
            for name, pairs in between.items()
        }
        likeness = {name: branch(maps[test]) for name, branch in branches.items()}
        scores = {name: branches[name].scores(near) for name, near in likeness.items()}
        run |= {f"accuracy, {name}": _accuracy(s, labels[test]) for name, s in scores.items()}
        both = scores["trivial"] + scores["support"]
        run["accuracy, both"] = _accuracy(both, labels[test])
        first, second = both.topk(2, dim=1).values.T
        border = (first - second).argsort()[: len(both) // 10]
        own = {
            name: near[torch.arange(len(both)), labels[test]].amax(1)
            for name, near in likeness.items()
        }
        gap = own["support"] - own["trivial"]
        run["support over trivial, at borders"] = gap[border].mean().item()
        run["support over trivial, all"] = gap.mean().item()
        runs.append(run)
    measured = {name: sum(run[name] for run in runs) / 3 for name in runs[0]}
    closer = all(
        r["closest of other classes, support"] > r["closest of other classes, trivial"]
        for r in runs
    )
    together = all(
        r["accuracy, both"] >= max(r["accuracy, trivial"], r["accuracy, support"]) - 0.005
        for r in runs
    )
    borders = all(
        r["support over trivial, at borders"] > r["support over trivial, all"] for r in runs
    )
    claim(
        paper="P224",
        says="Patches of digits: support prototypes of different classes are more alike than "
        "trivial ones, in each of 3 seeds",
        measured={n: v for n, v in measured.items() if n.startswith("closest")},
        holds=closer,
    )
    claim(
        paper="P224",
        says="Both branches together are at most half a point less accurate on unseen digits than "
        "the better one, in each of 3 seeds",
        measured={n: v for n, v in measured.items() if n.startswith("accuracy")},
        holds=together,
    )
    claim(
        paper="P224",
        says="Digits of the smallest tenth of margins are nearer to support than to trivial "
        "prototypes of their class, compared with all digits, 3 seeds",
        measured={n: v for n, v in measured.items() if n.startswith("support")},
        holds=borders,
    )
    assert closer
    assert measured["accuracy, both"] > 0.8
