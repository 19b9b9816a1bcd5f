"""Linear machines against scikit-learn's, and deep features against pixels and gradients."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.search import OffTheShelf, jitter


def _data(seed: int = 0, classes: int = 4, views: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % classes
    centres = torch.randn(classes, 12, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(60, views, 12, generator=generator)
    return (centres[labels].unsqueeze(1) + noise).double(), labels


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_equals_scikit_learn(classes: int, cost: float) -> None:
    features, labels = _data(classes=classes)
    features = features.squeeze(1)
    machine = OffTheShelf.fit(features, labels, power=2.0, costs=[cost])
    rows = nn.functional.normalize(features.sign() * features.square(), dim=1)
    reference = LinearSVC(C=cost, dual=False, tol=1e-10, max_iter=10**5).fit(rows, labels)
    expected = torch.from_numpy(reference.decision_function(rows)).reshape(60, -1)
    # For two classes scikit-learn keeps the second of two opposite machines.
    scores = machine(features)[:, -expected.shape[1] :]
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


def test_every_cost_is_solved_as_if_alone() -> None:
    features, labels = _data()
    chosen = OffTheShelf.fit(features, labels)
    alone = OffTheShelf.fit(features, labels, costs=[chosen.cost.item()])
    torch.testing.assert_close(chosen(features), alone(features), rtol=1e-3, atol=1e-3)


def test_views_are_averaged_or_their_maximum_taken() -> None:
    features, labels = _data(views=5)
    mean = OffTheShelf.fit(features, labels, costs=[1.0])
    largest = OffTheShelf.fit(features, labels, costs=[1.0], maximum=True)
    each = torch.stack([mean(features[:, i]) for i in range(5)])
    torch.testing.assert_close(mean(features), each.mean(0))
    torch.testing.assert_close(largest(features), each.amax(0))


def test_length_and_scale_of_features_do_not_count() -> None:
    features, labels = _data()
    machine = OffTheShelf.fit(features, labels)
    torch.testing.assert_close(machine(7 * features), machine(features))
    again = OffTheShelf.fit(7 * features, labels)
    torch.testing.assert_close(again(features), machine(features), rtol=1e-6, atol=1e-6)


def test_one_sample_of_each_class_needs_no_folds() -> None:
    features, labels = _data()
    machine = OffTheShelf.fit(features[:4], labels[:4])
    assert torch.equal(machine.predict(features[:4]), labels[:4])


def test_views_of_a_sample_stay_in_one_fold() -> None:
    # Each sample's views are the same random row: only a leak could tell the classes apart.
    noise = torch.randn(60, 1, 200, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 2
    spoiled = noise.expand(-1, 6, -1)
    single = OffTheShelf.fit(noise, labels)
    assert OffTheShelf.fit(spoiled, labels).cost <= 10 * single.cost


def test_pickle_and_state_dict_keep_it() -> None:
    features, labels = _data()
    machine, other = OffTheShelf.fit(features, labels), OffTheShelf.fit(*_data(seed=1))
    other.load_state_dict(machine.state_dict())
    for again in (other, pickle.loads(pickle.dumps(machine))):
        assert torch.equal(again(features), machine(features))


def test_refuses_what_cannot_be_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _data()
    with pytest.raises(LayerwiseError, match="at least two classes"):
        OffTheShelf.fit(features[:1], labels[:1])
    with pytest.raises(LayerwiseError, match="must be positive"):
        OffTheShelf.fit(features, labels, power=0.0)
    with pytest.raises(LayerwiseError, match="must be positive"):
        OffTheShelf.fit(features, labels, costs=[])
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(LayerwiseError, match="but 59 labels"):
        OffTheShelf.fit(features, labels[1:])
    with pytest.raises(LayerwiseError, match="hold NaN"):
        OffTheShelf.fit(features, labels)(features * torch.nan)


def _accuracy(features: Tensor, train: Tensor, test: Tensor, **options: list[float]) -> float:
    """Of features `[scenes crops ... d]`, trained on some crops of each scene, tested on others."""
    scenes = torch.arange(len(features))
    labels = scenes.repeat_interleave(len(train))
    machine = OffTheShelf.fit(features[:, train].flatten(0, 1), labels, **options)
    answers = machine.predict(features[:, test].flatten(0, 1))
    return (answers == scenes.repeat_interleave(len(test))).double().mean().item()


def _gradients(images: Tensor) -> Tensor:
    from skimage.feature import hog

    rows = [
        torch.from_numpy(hog(image.permute(1, 2, 0).numpy(), channel_axis=2))
        for image in images.flatten(0, 1)
    ]
    return torch.stack(rows).float().unflatten(0, images.shape[:2])


@pytest.mark.weights
@pytest.mark.slow
def test_deep_features_beat_pixels_and_jitter_helps(
    crop: Callable[..., Tensor], describe: Callable[[Tensor], Tensor], claim: Callable[..., None]
) -> None:
    images = crop(16, (0.1, 0.2), 0)
    kinds = {
        "deep": describe(images),
        "gradients": _gradients(images),
        "pixels": nn.functional.avg_pool2d(images.flatten(0, 1), 2)
        .flatten(1)
        .unflatten(0, (20, 16)),
    }
    jittered = describe(jitter(images[:, :6].flatten(0, 1)).unflatten(0, (20, 6)))
    runs, few_runs = [], []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(16, generator=generator)
        run = {name: _accuracy(features, order[:8], order[8:]) for name, features in kinds.items()}
        runs.append(run)
    for seed in range(8):
        few = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        # Three crops of a class are too few to choose a cost by.
        few_runs.append(
            {
                name: _accuracy(features, few[:3], few[3:], costs=[1.0])
                for name, features in (("plain", kinds["deep"]), ("jittered", jittered))
            }
        )
    means, few_means = _mean(runs), _mean(few_runs)
    gap = means["deep"] - max(means["gradients"], means["pixels"])
    gain = few_means["jittered"] - few_means["plain"]
    claim(
        paper="P086",
        says="20 scenes, 8 small crops each: over 15 points above gradients and pixels",
        measured={**means, "gap": gap},
        holds=gap > 0.15,
    )
    claim(
        paper="P086",
        says="20 scenes, 3 small crops each, 8 splits: jitter raises accuracy",
        measured={**few_means, "gain": gain},
        holds=gain > 0,
    )
    assert gap > 0.15
    assert gain > 0


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
