"""Stability and plasticity against scikit-learn, and on learners that forget."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.measures import StabilityPlasticity, stability_plasticity
from layerwise.search import Exploit


def _snapshots(steps: int, samples: int, width: int) -> tuple[list[Tensor], Tensor]:
    """Each step adds what tells its classes apart and loses some of what was there."""
    labels = torch.arange(samples) % (2 * steps)
    directions = torch.randn(2 * steps, width).double()
    noise = torch.randn(steps, samples, width).double()
    known = [
        torch.where((labels // 2 <= step)[:, None], directions[labels], 0) for step in range(steps)
    ]
    return [1.3 * each + more for each, more in zip(known, noise, strict=True)], labels


def test_equals_a_classifier_that_is_refitted_without_each_sample() -> None:
    from sklearn.linear_model import Ridge

    snapshots, labels = _snapshots(3, 60, 8)
    found = stability_plasticity(snapshots, labels, penalties=(5.0,))
    onehot = np.eye(6)[labels.numpy()]
    accuracy = np.zeros((3, 3))
    for step, features in enumerate(snapshots):
        rows = features.numpy()
        rows = (rows - rows.mean(0)) / rows.std(0)
        right = []
        for left_out in range(60):
            others = np.arange(60) != left_out
            fitted = Ridge(alpha=5.0).fit(rows[others], onehot[others])
            right.append(fitted.predict(rows[[left_out]]).argmax() == labels[left_out].item())
        for k in range(3):
            accuracy[step, k] = np.mean(np.array(right)[labels.numpy() // 2 == k])
    np.testing.assert_allclose(found.accuracy.numpy(), accuracy)
    lower = [
        np.nan,
        accuracy[1, 0] - accuracy[0, 0],
        np.mean(accuracy[2, :2] - np.diag(accuracy)[:2]),
    ]
    np.testing.assert_allclose(found.stability.numpy(), lower)
    np.testing.assert_allclose(
        found.plasticity[1:].numpy(),
        [accuracy[1, 1] - accuracy[0, 1], accuracy[2, 2] - accuracy[1, 2]],
    )
    assert found.slope.value.item() == pytest.approx(
        np.polyfit(range(3), found.overall.numpy(), 1)[0]
    )


def test_similarity_to_the_first_equals_a_direct_computation() -> None:
    snapshots, labels = _snapshots(3, 60, 8)
    found = stability_plasticity(snapshots, labels)
    n = 60
    kernels = [(x @ x.T).fill_diagonal_(0).numpy() for x in snapshots]

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        return (
            np.trace(k @ m)
            + k.sum() * m.sum() / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
        ) / (n * (n - 3))

    for step in range(3):
        a, b = kernels[0], kernels[step]
        expected = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
        assert found.cka[step].item() == pytest.approx(expected, abs=1e-6)


def test_what_stands_still_neither_forgets_nor_learns() -> None:
    snapshots, labels = _snapshots(3, 90, 8)
    found = stability_plasticity([snapshots[2]] * 3, labels)
    assert found.stability[1:].tolist() == [0, 0]
    assert found.plasticity[1:].tolist() == [0, 0]
    torch.testing.assert_close(found.cka, torch.ones(3).double())
    torch.testing.assert_close(found.direction, torch.ones(3).double())
    assert found.slope.low == found.slope.high == 0


def test_steps_may_be_told() -> None:
    snapshots, labels = _snapshots(2, 80, 8)
    reverse = 1 - labels // 2
    found = stability_plasticity(snapshots, labels, steps=reverse)
    dealt = stability_plasticity(snapshots, labels)
    torch.testing.assert_close(found.accuracy, dealt.accuracy.flip(1))
    assert dealt.plasticity[1] > 0.2


def test_mistakes_are_named() -> None:
    snapshots, labels = _snapshots(2, 20, 3)
    with pytest.raises(LayerwiseError, match="1 snapshots of shapes"):
        stability_plasticity(snapshots[:1], labels)
    with pytest.raises(LayerwiseError, match="all of one layer and of the same samples"):
        unwrap(stability_plasticity)([snapshots[0], snapshots[1][:-1]], labels)
    with pytest.raises(LayerwiseError, match="1 classes for 2 steps"):
        stability_plasticity(snapshots, 0 * labels)
    with pytest.raises(LayerwiseError, match=r"none of step \[1\]"):
        stability_plasticity(snapshots, labels, steps=0 * labels)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels and classes to learn from, and others to measure on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels, classes = torch.tensor(data.data / 16).float(), torch.tensor(data.target)
    return pixels[::2], classes[::2], pixels[1::2], classes[1::2]


def _learn(
    network: nn.Sequential, digits: Sequence[Tensor], *, remember: float
) -> tuple[list[Tensor], float]:
    """Five steps of two digits: held-out hidden features after each, and the accuracy at last.

    `remember` weighs what the network of the step before said of the earlier classes (LwF).
    """
    pixels, classes, held, held_classes = digits
    snapshots = []
    for step in range(5):
        now = classes // 2 == step
        before = copy.deepcopy(network)
        optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(60):
            logits = network(pixels[now])
            loss = nn.functional.cross_entropy(logits[:, : 2 * step + 2], classes[now])
            if step and remember:
                with torch.no_grad():
                    said = (before(pixels[now])[:, : 2 * step] / 2).softmax(1)
                kept = (logits[:, : 2 * step] / 2).log_softmax(1)
                loss = loss + 4 * remember * nn.functional.kl_div(kept, said, reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        snapshots.append(network[:-1](held).detach())
    return snapshots, (network(held).argmax(1) == held_classes).float().mean().item()


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def _exploit(features: Tensor, labels: Tensor) -> float:
    """Accuracy on one half of frozen features after five steps on the other half."""
    fitted, held = torch.arange(len(labels)).split((len(labels) + 1) // 2)
    head: Exploit | None = None
    for step in range(5):
        part = fitted[labels[fitted] // 2 == step]
        now = features[part], labels[part]
        head = Exploit.fit(*now) if head is None else head.extend(*now)
    assert head is not None
    return (head.predict(features[held]) == labels[held]).float().mean().item()


def test_fine_tuning_moves_more_and_forgets_more_than_learning_without_forgetting(
    digits: tuple[Tensor, Tensor, Tensor, Tensor], claim: Callable[..., None]
) -> None:
    tuned, remembering, ends, exploited = [], [], [], []
    for seed in range(3):
        torch.manual_seed(seed)
        start = _network()
        network = copy.deepcopy(start)
        snapshots, end = _learn(network, digits, remember=0.0)
        tuned.append(stability_plasticity(snapshots, digits[3]))
        ends.append(end)
        exploited.append(_exploit(snapshots[0], digits[3]))
        snapshots, _ = _learn(copy.deepcopy(start), digits, remember=1.0)
        remembering.append(stability_plasticity(snapshots, digits[3]))

    def means(runs: Sequence[StabilityPlasticity]) -> dict[str, list[float]]:
        return {
            "CKA to the first": [run.cka[1:].mean().item() for run in runs],
            "stability": [run.stability[1:].mean().item() for run in runs],
            "plasticity": [run.plasticity[1:].mean().item() for run in runs],
        }

    one, other = means(tuned), means(remembering)
    measured = {
        f"{what}, {name}": np.mean(values)
        for name, rows in (("fine-tuned", one), ("LwF", other))
        for what, values in rows.items()
    }

    def lower(name: str) -> bool:
        return all(a < b for a, b in zip(one[name], other[name], strict=True))

    claim(
        paper="P263",
        says="Digits in 5 steps of 2 classes, 3 seeds: fine-tuned features end less like the first "
        "ones (CKA) and less stable than with LwF",
        measured={name: value for name, value in measured.items() if "plasticity" not in name},
        holds=lower("CKA to the first") and lower("stability"),
    )
    claim(
        paper="P263",
        says="Digits in 5 steps of 2 classes, in each of 3 seeds: fine-tuned features are more "
        "plastic than with LwF",
        measured={name: value for name, value in measured.items() if "plasticity" in name},
        holds=all(a > b for a, b in zip(one["plasticity"], other["plasticity"], strict=True)),
    )
    no_better = all(bool(run.slope.low <= 0) for run in tuned)
    above = all(a > b for a, b in zip(exploited, ends, strict=True))
    claim(
        paper="P263",
        says="Digits in 5 steps of 2 classes, 3 seeds: what a fresh classifier reads off the "
        "features does not rise over the steps of fine-tuning (the interval of its slope reaches "
        "down to 0), and rows for new classes on the first features (Exploit) end above it",
        measured={
            "slope of the accuracy a step": np.mean([run.slope.value for run in tuned]),
            "accuracy, fine-tuned": np.mean(ends),
            "accuracy, Exploit": np.mean(exploited),
        },
        holds=no_better and above,
    )
    assert lower("CKA to the first")
    assert lower("stability")
    assert above
