"""Neural collapse against cases made by hand, matrices written out, and a network that trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import NeuralCollapse, neural_collapse
from layerwise.models import Network, randomised


def _simplex(classes: int, channels: int, *, length: float = 2.0) -> Tensor:
    """Corners of a simplex around a centre that is not the origin, in a random orientation."""
    spokes = torch.eye(classes).double() - 1 / classes
    spokes = length * spokes / spokes.norm(dim=1, keepdim=True)
    return spokes @ torch.linalg.qr(torch.randn(channels, classes).double()).Q.T


def _cross(means: Tensor, deviation: float) -> tuple[Tensor, Tensor]:
    """Samples around each mean whose covariance is exactly `deviation^2` times the identity."""
    channels = means.shape[1]
    arms = channels**0.5 * deviation * torch.eye(channels).double()
    around = torch.cat([arms, -arms])
    features = (means[:, None] + around).flatten(0, 1)
    return features, torch.arange(len(means)).repeat_interleave(len(around))


def _as_written(
    features: np.ndarray, labels: np.ndarray, classifier: np.ndarray
) -> dict[str, float]:
    """The definitions with whole matrices, in numpy."""
    classes = np.unique(labels)
    count = len(classes)
    means = np.stack([features[labels == c].mean(0) for c in classes])
    spokes = means - means.mean(0)
    within = features - means[np.searchsorted(classes, labels)]
    s_w, s_b = within.T @ within / len(features), spokes.T @ spokes / count
    variance = [np.square(within[labels == c]).sum() / (labels == c).sum() for c in classes]
    lengths = np.linalg.norm(spokes, axis=1)
    unit, rows = (
        a / np.linalg.norm(a, axis=1, keepdims=True) for a in (spokes, classifier[classes])
    )
    pairs = [(i, j) for i in range(count) for j in range(i)]
    simplex = count * np.eye(count) - 1

    def apart(product: np.ndarray, pattern: np.ndarray) -> float:
        return np.linalg.norm(product / np.linalg.norm(product) - pattern / np.linalg.norm(pattern))

    return {
        "nc1": np.trace(s_w @ np.linalg.pinv(s_b)) / count,
        "cdnv": np.mean(
            [
                (variance[i] + variance[j]) / 2 / np.square(means[i] - means[j]).sum()
                for i, j in pairs
            ]
        ),
        "nc2_equinorm": lengths.std() / lengths.mean(),
        "nc2_coherence": np.mean([abs(unit[i] @ unit[j] + 1 / (count - 1)) for i, j in pairs]),
        "nc2_simplex": apart(spokes @ spokes.T, simplex),
        "nc2_orthogonal": apart(means @ means.T, np.eye(count)),
        "nc3": np.square(unit - rows).sum(1).mean(),
    }


@pytest.mark.parametrize("channels", [3, 40])
def test_equals_the_definitions_written_out(channels: int) -> None:
    labels = torch.cat([torch.arange(6), torch.randint(0, 6, (90,))])
    features = torch.randn(96, channels).double() + 2 * torch.randn(6, channels).double()[labels]
    classifier = torch.randn(6, channels).double()
    found = neural_collapse(features, labels, classifier=classifier)
    expected = _as_written(features.numpy(), labels.numpy(), classifier.numpy())
    for name, value in expected.items():
        assert getattr(found, name).item() == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("counts", [(5, 5, 5, 5), (2, 9, 3, 30)], ids=["balanced", "unbalanced"])
def test_collapsed_features_give_zero(counts: tuple[int, ...]) -> None:
    labels = torch.arange(4).repeat_interleave(torch.tensor(counts))
    means = _simplex(4, 12) + 3
    spokes = means - means.mean(dim=0)
    found = neural_collapse(means[labels], labels, classifier=5 * spokes)
    for name in ("nc1", "cdnv", "nc2_equinorm", "nc2_coherence", "nc2_simplex", "nc3"):
        assert getattr(found, name).item() == pytest.approx(0, abs=1e-6), name
    assert found.nc4 == 1
    assert (found.classes, found.samples) == (4, sum(counts))


def test_collapsed_features_need_no_classifier() -> None:
    labels = torch.arange(40) % 5
    found = neural_collapse((_simplex(5, 30) - 7)[labels].float(), labels)
    assert found.nc3.item() == pytest.approx(0, abs=1e-6)
    assert found.nc4 == 1


def test_an_orthogonal_frame_is_known_as_one() -> None:
    labels = torch.arange(12) % 3
    frame = 2 * torch.linalg.qr(torch.randn(9, 3).double()).Q.T
    assert neural_collapse(frame[labels], labels).nc2_orthogonal.item() < 1e-6
    assert neural_collapse(frame[labels] + 1, labels).nc2_orthogonal.item() > 0.1


def test_equals_the_closed_form_for_round_classes() -> None:
    classes, channels, deviation, length = 4, 10, 0.3, 2.0
    features, labels = _cross(_simplex(classes, channels, length=length), deviation)
    found = neural_collapse(features, labels)
    ratio = deviation**2 / length**2 * (classes - 1) / classes
    assert found.nc1.item() == pytest.approx(ratio * (classes - 1), rel=1e-9)
    assert found.cdnv.item() == pytest.approx(ratio * channels / 2, rel=1e-9)


def test_pairs_of_classes_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.measures._neural_collapse._PAIRS", 100)
    labels = torch.arange(120) // 3
    features = torch.randn(120, 4).double()
    classifier = torch.randn(40, 4).double()
    found = neural_collapse(features, labels, classifier=classifier)
    expected = _as_written(features.numpy(), labels.numpy(), classifier.numpy())
    assert found.cdnv.item() == pytest.approx(expected["cdnv"], rel=1e-9)
    assert found.nc2_coherence.item() == pytest.approx(expected["nc2_coherence"], rel=1e-9)


def test_rare_classes_are_left_out() -> None:
    features, labels = torch.randn(21, 3), torch.cat([torch.arange(20) % 2, torch.tensor([7])])
    found = neural_collapse(features, labels)
    assert (found.classes, found.samples) == (2, 20)
    assert found.nc1 == neural_collapse(features[:20], labels[:20]).nc1


def test_answers_of_the_network_are_compared_with_the_nearest_mean() -> None:
    features, labels = _cross(_simplex(3, 5), 0.1)
    answers = labels.clone()
    answers[::3] = (labels[::3] + 1) % 3
    agreement = neural_collapse(features, labels, predictions=answers).nc4
    assert agreement.item() == pytest.approx((answers == labels).double().mean().item())


def test_more_channels_than_samples_and_a_constant_layer_have_an_answer() -> None:
    labels = torch.arange(20) % 2
    wide = neural_collapse(torch.randn(20, 300), labels)
    assert all(torch.isfinite(value) for value in (wide.nc1, wide.nc3, wide.nc4))
    constant = neural_collapse(torch.full((20, 4), 0.1), labels)
    assert constant.nc2_equinorm.isnan()
    assert constant.cdnv.isnan()


def test_noise_is_what_the_scatter_alone_gives_to_the_distances_of_class_means() -> None:
    labels = torch.arange(60) % 12  # five samples of each class
    alone = [neural_collapse(torch.randn(60, 40).double(), labels).noise for _ in range(40)]
    assert torch.stack(alone).mean().item() == pytest.approx(1, abs=0.1)
    # Class means whose variance is known: 40 channels of 0.05, beside 40 / 5 of scatter.
    centres = 0.05**0.5 * torch.randn(400, 12, 40).double()
    found = [neural_collapse(c[labels] + torch.randn(60, 40), labels).noise for c in centres[:40]]
    assert torch.stack(found).mean().item() == pytest.approx(0.2 / (0.2 + 0.05), abs=0.05)


def test_mistakes_are_named() -> None:
    features, labels = torch.randn(12, 3), torch.arange(12) % 3
    with pytest.raises(LayerwiseError, match="1 of 1 classes have 2 samples or more"):
        neural_collapse(features, labels * 0)
    with pytest.raises(LayerwiseError, match="0 of 12 classes have 2 samples or more"):
        neural_collapse(features, torch.arange(12))
    with pytest.raises(LayerwiseError, match="negative"):
        neural_collapse(features, labels - 1)
    with pytest.raises(LayerwiseError, match="for 3 classes and 3 channels"):
        neural_collapse(features, labels, classifier=torch.randn(2, 3))
    with pytest.raises(LayerwiseError, match="NaN or infinity in 1 of 12 rows"):
        neural_collapse(torch.where(torch.arange(12)[:, None] == 4, torch.nan, features), labels)


def _collapse(network: nn.Sequential, images: Tensor, labels: Tensor) -> list[NeuralCollapse]:
    """Of what flows out of every hidden layer."""
    found = []
    for module in network[:-1]:
        images = module(images).detach()
        if isinstance(module, nn.ReLU):
            found.append(neural_collapse(images, labels))
    return found


def _train(network: nn.Sequential, images: Tensor, labels: Tensor, *, epochs: int) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(epochs):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_digits_collapse_with_depth_and_training(claim: Callable[..., None]) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = torch.tensor(digits.data[::2] / 16).float(), torch.tensor(digits.target[::2])
    before, after = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        hidden = [m for _ in range(3) for m in (nn.Linear(64, 64), nn.ReLU())]
        network = nn.Sequential(*hidden, nn.Linear(64, 10))
        before.append(_collapse(network, images, labels))
        _train(network, images, labels, epochs=100)
        after.append(_collapse(network, images, labels))

    with_depth = all(a.cdnv > b.cdnv for run in after for a, b in pairwise(run))
    with_training = all(
        start[-1].nc1 > end[-1].nc1
        and all(a.cdnv > b.cdnv for a, b in zip(start, end, strict=True))
        for start, end in zip(before, after, strict=True)
    )
    mean = {
        f"{name}, layer {layer + 1}, {when}": np.mean([getattr(run[layer], name) for run in runs])
        for name in ("cdnv", "nc1")
        for layer in range(3)
        for when, runs in (("untrained", before), ("trained", after))
    }
    claim(
        paper="P089",
        says="NC1 as CDNV falls from layer to layer and with training at every layer of an MLP on "
        "digits, 3 seeds; as trace(S_W pinv(S_B)) it falls with training at the last one, but in "
        "100 epochs not with depth",
        measured=mean,
        holds=with_depth and with_training,
    )
    assert with_depth
    assert with_training


def _next_tokens(network: Network, inputs: Mapping[str, Tensor]) -> list[NeuralCollapse]:
    """Of the embedding and the final layer, with the next token as class; not the first place."""
    layers = ["model.embed_tokens", "model.norm"]
    states = layerwise.read(network, inputs, layers)
    labels = inputs["input_ids"][0, 2:]
    return [neural_collapse(states[layer][0, 1:-1], labels, min_count=8) for layer in layers]


@pytest.mark.weights
@pytest.mark.slow
def test_next_tokens_collapse_in_a_trained_language_model(claim: Callable[..., None]) -> None:
    network, texts = layerwise.open("smollm2-135m"), layerwise.data.open("stdlib")
    embedded, final, untrained = [], [], []
    for seed in range(3):
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))
        text = "\n".join(texts.load(int(row)) for row in order[:40])
        inputs = network.batch([network.prepare(text)])
        first, last = _next_tokens(network, inputs)
        embedded.append(first.cdnv.item())
        final.append(last.cdnv.item())
        random = randomised(network, seed=seed, inputs=inputs)
        untrained.append(_next_tokens(random, inputs)[1].cdnv.item())
    holds = all(b < a and b < c for a, b, c in zip(embedded, final, untrained, strict=True))
    claim(
        paper="P008",
        says="CDNV over frequent next tokens is lower at the final layer of SmolLM2-135M than at "
        "its embedding and than at the final layer with random weights, 3 texts of 1,024 tokens",
        measured={
            "embedding": np.mean(embedded),
            "final layer": np.mean(final),
            "final layer, random weights": np.mean(untrained),
        },
        holds=holds,
    )
    assert holds
