"""Probing against scikit-learn, and what it must never let through from held-out samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from layerwise.data import Split, Target
from layerwise.errors import LayerwiseError
from layerwise.measures import LinearReadout, NeighboursReadout, ProbeTable, bootstrap_mean, probe


def _split(samples: int) -> Split:
    order = torch.randperm(samples)
    return Split(*order.tensor_split([samples // 2, 3 * samples // 4]))


def _classes(samples: int = 240) -> tuple[dict[str, Tensor], Target]:
    """Layers of which the middle one tells the classes apart best."""
    labels = torch.arange(samples) % 4
    centres = torch.randn(4, 12)
    layers = {
        name: torch.randn(samples, 12) + strength * centres[labels]
        for name, strength in (("first", 0.3), ("middle", 1.0), ("last", 0.6))
    }
    return layers, Target("kind", "class", labels, ("a", "b", "c", "d"))


def _numbers(samples: int = 240) -> tuple[dict[str, Tensor], Target]:
    features = torch.randn(samples, 9)
    values = features @ torch.randn(9) + 0.3 * torch.randn(samples)
    layers = {"clear": features, "vague": features + torch.randn(samples, 9)}
    return layers, Target("amount", "number", values.double())


def _column(table: ProbeTable[str], layer: str, readout: str) -> int:
    return next(i for i, r in enumerate(table.readings) if (r.layer, r.readout) == (layer, readout))


@pytest.mark.parametrize("readout", ["linear", "nearest-mean", "knn"])
def test_answers_are_those_of_scikit_learn(readout: str) -> None:
    layers, target = _classes()
    split = _split(240)
    table = probe(layers, target, split)
    for layer, features in layers.items():
        column = _column(table, layer, readout)
        setting = table.readings[column].setting
        if readout == "linear":
            peer = make_pipeline(StandardScaler(), LogisticRegression(C=1 / setting, max_iter=999))
        elif readout == "nearest-mean":
            peer = NearestCentroid()
        else:
            peer = KNeighborsClassifier(int(setting), metric="cosine")
        peer.fit(features[split.train].numpy(), target.values[split.train].numpy())
        for side, marks in ((split.validation, table.validation), (split.test, table.test)):
            expected = torch.from_numpy(peer.predict(features[side].numpy()))
            agree = (marks.answers[:, column] == expected).double().mean()
            # With an even vote scikit-learn takes the first class, this library the nearest one.
            assert agree >= (0.8 if readout == "knn" else 1)


def test_quantities_are_read_by_ridge_at_the_penalty_that_was_chosen() -> None:
    layers, target = _numbers()
    split = _split(240)
    table = probe(layers, target, split)
    assert table.metric == "R2"
    assert {reading.readout for reading in table.readings} == {"linear", "knn"}
    column = _column(table, "vague", "linear")
    peer = make_pipeline(StandardScaler(), Ridge(table.readings[column].setting))
    peer.fit(layers["vague"][split.train].double(), target.values[split.train])
    expected = peer.predict(layers["vague"][split.test].double())
    np.testing.assert_allclose(table.test.answers[:, column], expected, rtol=1e-3, atol=1e-4)
    assert table.test.scores[column].item() == pytest.approx(
        r2_score(target.values[split.test], table.test.answers[:, column])
    )


def test_validation_chooses_the_layer_and_the_setting() -> None:
    layers, target = _classes()
    split = _split(240)
    table = probe(layers, target, split)
    assert table.readings[table.best].layer == "middle"
    alone = {
        penalty: probe(layers, target, split, readouts=[LinearReadout(penalties=(penalty,))])
        for penalty in LinearReadout().penalties
    }
    for layer in layers:
        column = _column(table, layer, "linear")
        scores = {
            penalty: one.validation.scores[_column(one, layer, "linear")]
            for penalty, one in alone.items()
        }
        assert table.validation.scores[column] == max(scores.values())
        assert scores[table.readings[column].setting] == max(scores.values())


@pytest.mark.parametrize("make", [_classes, _numbers])
def test_test_samples_change_nothing_but_their_own_answers(make: object) -> None:
    layers, target = make()
    split = _split(240)
    table = probe(layers, target, split)
    changed = {name: features.clone() for name, features in layers.items()}
    for features in changed.values():
        features[split.test] = 1000 * torch.randn(len(split.test), features.shape[1])
    values = target.values.clone()
    values[split.test] = values[split.test].flip(0)
    other = Target(target.name, target.kind, values, target.classes)
    again = probe(changed, other, split)
    assert torch.equal(again.validation.answers, table.validation.answers)
    assert again.readings == table.readings


@pytest.mark.parametrize("make", [_classes, _numbers])
def test_permuted_answers_leave_chance(make: object) -> None:
    layers, target = make(1200)
    table = probe(layers, target, _split(1200), permutations=20)
    interval = bootstrap_mean(table.permuted)
    chance = 0.25 if target.kind == "class" else 0.0
    assert (table.test.scores > interval.high).all()
    linear = [i for i, reading in enumerate(table.readings) if reading.readout == "linear"]
    assert (interval.value[linear] - chance).abs().max() < 0.06
    assert (interval.low[linear] - 0.02 <= chance).all()
    assert (chance <= interval.high[linear] + 0.02).all()


def test_the_seed_decides_the_permutation_and_nothing_else() -> None:
    layers, target = _classes()
    split = _split(240)
    first, same, other = (probe(layers, target, split, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.permuted, same.permuted)
    assert not torch.equal(first.permuted, other.permuted)
    assert torch.equal(first.test.answers, other.test.answers)


@pytest.mark.parametrize("make", [_classes, _numbers])
def test_leads_are_differences_of_scores(make: object) -> None:
    layers, target = make()
    table = probe(layers, target, _split(240))
    lead = table.test.lead(table.best)
    scores = table.test.scores
    torch.testing.assert_close(lead.value, scores[table.best] - scores)
    assert lead.low[table.best] == lead.high[table.best] == 0
    torch.testing.assert_close(table.test.intervals().value, scores)


def test_layers_may_be_wide_constant_and_of_any_key() -> None:
    labels = torch.arange(80) % 2
    wide = torch.randn(80, 300) + labels[:, None]
    layers = {("net", "wide", "mean"): wide, ("net", "flat", "mean"): torch.full((80, 5), 0.1)}
    table = probe(layers, Target("side", "class", labels, ("l", "r")), _split(80))
    assert table.readings[table.best].layer == ("net", "wide", "mean")
    assert table.test.scores.isfinite().all()


def test_mistakes_name_the_layer_and_the_target() -> None:
    layers, target = _classes()
    split = _split(240)
    spoiled = {**layers, "middle": torch.full((240, 2), torch.nan)}
    with pytest.raises(LayerwiseError, match=r"layer 'middle', target 'kind': .* NaN"):
        probe(spoiled, target, split)
    with pytest.raises(LayerwiseError, match=r"layer 'last'.* 9 samples for a target of 240"):
        probe({"last": torch.randn(9, 2)}, target, split)
    one = Target("kind", "class", torch.zeros(240, dtype=torch.int64), ("a",))
    with pytest.raises(LayerwiseError, match="are of one class"):
        probe(layers, one, split)
    empty = Split(split.train, split.validation[:0], split.test)
    with pytest.raises(LayerwiseError, match="validation side of target 'kind' has 0 samples"):
        probe(layers, target, empty)
    missing = Target("kind", "class", target.values.where(target.values > 0, -1), target.classes)
    with pytest.raises(LayerwiseError, match="of them without a value"):
        probe(layers, missing, split)
    with pytest.raises(LayerwiseError, match="nothing to probe"):
        probe(layers, target, split, readouts=[NeighboursReadout(counts=(999,))])
