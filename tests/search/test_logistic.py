"""Logistic regression against scikit-learn's."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from layerwise.errors import LayerwiseError
from layerwise.search import Logistic

PENALTIES = (0.01, 1.0, 100.0)


def _data(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return 4 + (centres[labels] + 2 * noise) @ mixing, labels


@pytest.mark.parametrize(
    ("n", "d", "classes"), [(200, 12, 4), (60, 150, 3), (150, 8, 2), (40, 60, 2)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_scikit_learn(n: int, d: int, classes: int, dtype: torch.dtype) -> None:
    features, labels = _data(n, d, classes)
    fresh = _data(50, d, classes, seed=1)[0]
    logistic = Logistic.fit(features.to(dtype), labels, penalties=PENALTIES)
    assert logistic.converged.all()
    scaler = StandardScaler().fit(features)
    probabilities = logistic(fresh.to(dtype)).softmax(-1).double()
    for i, penalty in enumerate(PENALTIES):
        reference = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000)
        reference.fit(scaler.transform(features), labels)
        expected = torch.from_numpy(reference.predict_proba(scaler.transform(fresh)))
        torch.testing.assert_close(probabilities[i], expected, rtol=0, atol=1e-3)


def test_each_penalty_is_solved_as_if_alone() -> None:
    features, labels = _data(200, 12, 4)
    together = Logistic.fit(features, labels, penalties=PENALTIES, tolerance=1e-10)
    alone = [Logistic.fit(features, labels, penalties=(p,), tolerance=1e-10) for p in PENALTIES]
    logits = torch.cat([one(features) for one in alone])
    torch.testing.assert_close(together(features), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "d", "classes"), [(200, 12, 4), (60, 150, 3), (150, 8, 2)])
def test_rows_in_batches_give_what_rows_at_once_give(n: int, d: int, classes: int) -> None:
    features, labels = _data(n, d, classes)
    features[:, 0], labels = 5.0, 1 + 2 * labels  # a feature that never varies, and gaps

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(features.split(37), labels.split(37), strict=True)

    found = Logistic.fit_stream(batches, penalties=PENALTIES, tolerance=1e-10)
    wanted = Logistic.fit(features, labels, penalties=PENALTIES, tolerance=1e-10)
    assert found.converged.all()
    assert torch.equal(found.classes, wanted.classes)
    torch.testing.assert_close(found(features), wanted(features), rtol=1e-6, atol=1e-6)


def test_says_when_the_steps_were_too_few() -> None:
    features, labels = _data(200, 40, 4)
    assert not Logistic.fit(features, labels, penalties=(1e-3,), limit=1).converged.any()


def test_separable_classes_and_constant_features_stay_finite() -> None:
    labels = torch.arange(30) % 3
    features = torch.cat([torch.eye(3)[labels], torch.ones(30, 1) / 3], 1)
    logistic = Logistic.fit(features, labels)
    assert logistic.converged.all()
    assert (logistic.predict(features) == labels).all()


def test_features_that_never_vary_leave_the_class_frequencies() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    logistic = Logistic.fit(torch.ones(4, 2), labels)
    expected = torch.tensor([0.75, 0.25]).expand(5, 4, 2)
    torch.testing.assert_close(logistic(torch.ones(4, 2)).softmax(-1), expected, rtol=0, atol=1e-4)


def test_labels_may_have_gaps() -> None:
    features, labels = _data(80, 5, 3)
    logistic = Logistic.fit(features, 2 + 3 * labels)
    assert logistic.classes.tolist() == [2, 5, 8]
    assert torch.equal(
        logistic.predict(features), 2 + 3 * Logistic.fit(features, labels).predict(features)
    )


def test_linear_is_the_same_readout() -> None:
    features, labels = _data(80, 5, 3)
    logistic = Logistic.fit(features, labels)
    torch.testing.assert_close(logistic.linear(2)(features), logistic(features)[2])


def test_pickle_and_state_dict_keep_it() -> None:
    features, labels = _data(80, 5, 3)
    logistic, other = Logistic.fit(features, labels), Logistic.fit(*_data(80, 5, 3, seed=1))
    other.load_state_dict(logistic.state_dict())
    for again in (other, pickle.loads(pickle.dumps(logistic))):
        assert torch.equal(again(features), logistic(features))


def test_refuses_what_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _data(80, 5, 3)
    with pytest.raises(LayerwiseError, match="at least two classes"):
        Logistic.fit(features[:1], labels[:1])
    with pytest.raises(LayerwiseError, match="no rows"):
        Logistic.fit(features[:0], labels[:0])
    with pytest.raises(LayerwiseError, match="which means missing"):
        Logistic.fit(features, labels - 1)
    for rows, says in ((1, "at least two classes"), (0, "there are no rows")):
        with pytest.raises(LayerwiseError, match=says):
            Logistic.fit_stream(lambda few=rows: [(features[:few], labels[:few])])
    with pytest.raises(LayerwiseError, match="there are no rows"):
        Logistic.fit_stream(list)
    with pytest.raises(LayerwiseError, match="must be positive"):
        Logistic.fit(features, labels, penalties=(1.0, -1.0))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(LayerwiseError, match="but 79 labels"):
        Logistic.fit(features, labels[1:])
    features[5] = torch.inf
    with pytest.raises(LayerwiseError, match="first in row 5"):
        Logistic.fit(features, labels)
