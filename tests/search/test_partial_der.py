"""Growing one block a step: what must stay, what reads it, and whether features get better."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.search import Exploit, PartialDER
from layerwise.search._herd import herd


def _classes(*labels: int) -> tuple[Tensor, Tensor]:
    index = torch.tensor(labels).repeat(20)
    centres = 3 * torch.randn(9, 5, generator=torch.Generator().manual_seed(1)).double()
    return centres[index] + torch.randn(len(index), 5).double(), index


def test_the_head_is_a_logistic_regression_on_the_herded_memory() -> None:
    from sklearn.linear_model import LogisticRegression

    first, second = _classes(4, 1), _classes(7, 0, 8)
    found = PartialDER.fit(*first, each=6, epochs=3).extend(*second)
    assert found.classes.tolist() == [1, 4, 0, 7, 8]
    assert found.remembered.bincount().tolist() == [6, 6, 0, 0, 6, 0, 0, 6, 6]
    rows = found.represent(found.memory).numpy()
    scaled = (rows - rows.mean(0)) / np.where(rows.std(0) > 0, rows.std(0), 1)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(scaled, found.remembered)
    logits = found(found.memory)
    mine = (logits - logits.mean(1, keepdim=True))[:, found.classes.argsort()]
    theirs = oracle.decision_function(scaled)
    np.testing.assert_allclose(mine, theirs - theirs.mean(1, keepdims=True), atol=2e-3)


def test_herding_is_what_a_greedy_search_finds() -> None:
    rows = torch.randn(12, 3, 2).double()
    own = torch.arange(12) % 3 == 1
    where = np.flatnonzero(own.numpy())
    flat = rows.flatten(1).numpy()
    chosen: list[int] = []
    for _ in range(3):
        left = [i for i in where if i not in chosen]
        aim = flat[where].mean(0)
        chosen.append(min(left, key=lambda i: np.sum((flat[[*chosen, i]].mean(0) - aim) ** 2)))
    assert herd(rows, own, count=3).tolist() == chosen
    assert sorted(herd(rows, own, count=9).tolist()) == where.tolist()


def test_earlier_copies_stay_bit_identical_and_the_given_block_is_left_alone() -> None:
    maps = torch.randn(40, 3, 4, 4)
    labels = torch.arange(40) % 2
    block = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    before = copy.deepcopy(block.state_dict())
    first = PartialDER.fit(maps, labels, block=block, epochs=2)
    kept = copy.deepcopy(first.state_dict())
    second = first.extend(maps + 1, labels + 2)
    assert all(torch.equal(before[name], value) for name, value in block.state_dict().items())
    assert all(p.requires_grad for p in block.parameters())
    assert all(torch.equal(kept[name], value) for name, value in first.state_dict().items())
    for name, value in first.branches.state_dict().items():
        assert torch.equal(second.branches.state_dict()[name], value)
    assert second.represent(maps).shape == (40, 12)
    assert torch.equal(second.represent(maps)[:, :6], first.represent(maps))
    trained = [branch.state_dict()["0.weight"] for branch in second.branches]
    assert torch.equal(trained[0], before["0.weight"])
    assert not torch.equal(trained[1], trained[0])


def test_mistakes_are_named() -> None:
    known = PartialDER.fit(*_classes(0, 1), epochs=1)
    with pytest.raises(LayerwiseError, match=r"with the known classes \[1\]; give only new"):
        known.extend(*_classes(1, 2))
    features, labels = _classes(2, 3)
    with pytest.raises(LayerwiseError, match=r"a step of features \(4,\)"):
        known.extend(features[:, :4], labels)
    with pytest.raises(LayerwiseError, match="1 classes, 20 samples"):
        PartialDER.fit(*_classes(4))
    with pytest.raises(LayerwiseError, match="remember at least one"):
        PartialDER.fit(features, labels, each=0)


def _lower(pixels: Tensor, classes: Tensor, *, seed: int) -> tuple[nn.Module, nn.Module]:
    """The lower layer and the block of a small network that learned the first two digits."""
    torch.manual_seed(seed)
    lower = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
    block, head = nn.Sequential(nn.Linear(48, 32), nn.ReLU()), nn.Linear(32, 2)
    network = nn.Sequential(lower, block, head)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(pixels), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return lower.requires_grad_(False), block.requires_grad_(False)


def test_a_block_a_step_beats_frozen_features_and_its_own_first_copy(
    claim: Callable[..., None],
) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels, classes = torch.tensor(data.data / 16).float(), torch.tensor(data.target)
    measured: dict[str, list[float]] = {"PartialDER": [], "Exploit": [], "first copy, memory": []}
    for seed in range(3):
        steps = [(classes[::2] // 2 == step).nonzero().flatten() * 2 for step in range(5)]
        held = torch.arange(1, len(pixels), 2)
        lower, block = _lower(pixels[steps[0]], classes[steps[0]], seed=seed)
        features = lower(pixels)
        grown: PartialDER | None = None
        frozen: Exploit | None = None
        for rows in steps:
            now, deep = (features[rows], classes[rows]), (block(features[rows]), classes[rows])
            grown = grown.extend(*now) if grown else PartialDER.fit(*now, block=block)
            frozen = frozen.extend(*deep) if frozen else Exploit.fit(*deep)
        assert grown is not None
        assert frozen is not None
        # The same memory and the same kind of head, on what the first step had learned.
        first = Exploit.fit(block(grown.memory), grown.remembered)
        answers = {
            "PartialDER": grown.predict(features[held]),
            "Exploit": frozen.predict(block(features[held])),
            "first copy, memory": first.predict(block(features[held])),
        }
        for name, answer in answers.items():
            measured[name].append((answer == classes[held]).float().mean().item())
    holds = all(grown > max(others) for grown, *others in zip(*measured.values(), strict=True))
    claim(
        paper="P263",
        says="Digits in 5 steps of 2 classes, in each of 3 seeds: a new copy of the top block each "
        "step (partial DER, 20 samples of each class remembered) ends above rows for new classes "
        "on the features of the first step (Exploit), and above all rows fitted there to the same "
        "memory",
        measured={name: float(np.mean(values)) for name, values in measured.items()},
        holds=holds,
    )
    assert holds
