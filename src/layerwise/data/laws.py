"""What all samples keep, however they were opened. Run `check` on your own."""

from __future__ import annotations

import pickle
from typing import Any

import torch
from torch import Tensor

from layerwise.data._samples import Samples, Target, Unreadable


def check(samples: Samples, *, tries: int = 8) -> None:
    """Try that samples can be named, read, cut down and sent to another process.

    Keys differ; names, keys, items, targets and sides are of one length; class indices have names;
    a sample loads twice the same, or says why it cannot; `take` takes from everything alike;
    pickling changes nothing.

    Args:
        samples: what to try.
        tries: how many samples are loaded, spread over all.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.data import open
        >>> check(open(["one text", "another", "one text"]))
    """
    n = len(samples.keys)
    assert n > 0, "there are no samples"
    assert len(set(samples.keys)) == n, "two samples have the same key"
    assert len(samples.names) == n, f"there are {n} keys but not {n} names"
    assert len(samples.items) == n, f"there are {n} keys but not {n} items"
    assert samples.split is None or len(samples.split) == n, "the split does not cover the samples"
    assert set(samples.split or ()) <= {"train", "validation", "test"}, "a side has another name"
    for name, target in samples.targets.items():
        _check_target(name, target, n)
    rows = sorted({round(i * (n - 1) / max(1, tries - 1)) for i in range(tries)})
    _check_take(samples, rows[::-1])
    again = pickle.loads(pickle.dumps(samples.take(rows)))
    assert again.keys == tuple(samples.keys[row] for row in rows), "pickling changes the keys"
    for place, row in enumerate(rows):
        first, second, sent = _load(samples, row), _load(samples, row), _load(again, place)
        assert _same(first, second), f"{samples.names[row]} loads differently each time"
        assert _same(first, sent), f"{samples.names[row]} loads differently after pickling"
        _check_modality(samples, row, first)


def _check_target(name: str, target: Target, n: int) -> None:
    assert name == target.name, f"target {target.name!r} is listed as {name!r}"
    assert target.values.shape == (n,), f"target {name!r} does not have one value for each sample"
    assert target.groups is None or len(target.groups) == n, f"target {name!r} lacks groups"
    if target.kind == "class":
        assert target.values.dtype == torch.int64, f"target {name!r} has no int64 indices"
        low, high = int(target.values.min()), int(target.values.max())
        assert low >= -1, f"target {name!r} has the index {low}"
        assert high < len(target.classes), f"target {name!r} has the index {high} without a name"
    else:
        assert target.values.dtype == torch.float64, f"target {name!r} has no float64 numbers"
        assert not target.values.isinf().any(), f"target {name!r} is infinite somewhere"


def _check_take(samples: Samples, rows: list[int]) -> None:
    taken = samples.take(rows)
    assert len(taken) == len(rows), "take gives another number of samples"
    assert taken.keys == tuple(samples.keys[row] for row in rows), "take changes the order"
    assert taken.items == tuple(samples.items[row] for row in rows), "take mixes the items up"
    for name, target in samples.targets.items():
        same = torch.equal(
            taken.targets[name].values.nan_to_num(7.5), target.values[rows].nan_to_num(7.5)
        )
        assert same, f"take mixes the target {name!r} up"


def _check_modality(samples: Samples, row: int, sample: Any) -> None:
    if isinstance(sample, Unreadable):
        assert str(sample), f"{samples.names[row]} is unreadable without a reason"
        assert "\n" not in str(sample), f"the reason for {samples.names[row]} is no single line"
    elif samples.modality == "image":
        assert sample.mode == "RGB", f"{samples.names[row]} is no RGB picture"
    else:
        kind = str if samples.modality == "text" else Tensor
        assert isinstance(sample, kind), f"{samples.names[row]} is no {samples.modality}"


def _load(samples: Samples, row: int) -> Any:
    try:
        return samples.load(row)
    except Unreadable as reason:
        return reason


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, Unreadable):
        return isinstance(other, Unreadable) and str(one) == str(other)
    return bool(one == other)
