"""What every method keeps, whatever it does: it is called by its signature, not by its name.

What a room's methods keep besides is in its `laws.py`, and tested in `tests/<room>/test_laws.py`.
"""

from __future__ import annotations

import inspect
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.vocabulary import examples

Alter = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _without_checks() -> Iterator[None]:
    """Beartype draws from the global random state to choose what it looks at in a sequence."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def same(value: Tensor) -> Tensor:
    return value


def poisoned(value: Tensor) -> Tensor:
    value = value.clone()
    if value.is_floating_point():
        value[0].view(-1)[0] = float("nan")
    return value


def only_one(value: Tensor) -> Tensor:
    return value[:1]


def none(value: Tensor) -> Tensor:
    return value[:0]


def double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


class Trial:
    """Builds a method and calls it on examples, and watches what must not change."""

    def __init__(self, method: Callable[..., Any], *, seed: int = 0) -> None:
        self.method = method
        self.seed = seed

    def build(self, alter: Alter = same) -> Any:
        maker = self.method.fit if "fit" in vars(self.method) else self.method
        return self._run(maker, alter)

    def answer(self, subject: Any, alter: Alter = same) -> Any:
        call = subject.forward if isinstance(subject, nn.Module) else subject
        return self._run(call, alter) if callable(call) else subject

    def __call__(self, alter: Alter = same, *, built_with: Alter = same) -> Any:
        if not inspect.isclass(self.method):
            return self._run(self.method, alter)
        return self.answer(self.build(built_with), alter)

    def _run(self, call: Callable[..., Any], alter: Alter) -> Any:
        given = examples(call, seed=self.seed)
        steps = inspect.signature(call).parameters.get("steps")
        if steps is not None and isinstance(steps.default, int):
            given["steps"] = 3  # what holds after a few steps of training holds after many
        given = tree_map_only(Tensor, alter, given)
        if alter is double:
            _widen_networks(given)
        with untouched(given), untouched_process():
            return call(**given)


def _widen_networks(given: Mapping[str, Any]) -> None:
    for value in given.values():
        if isinstance(value, Network):
            value.module.double()
            value.example = tree_map_only(Tensor, double, value.example)


@contextmanager
def untouched(arguments: Mapping[str, Any]) -> Iterator[None]:
    before = {name: _state(value) for name, value in arguments.items()}
    try:
        yield
    finally:
        for name, value in arguments.items():
            assert _equal(_state(value), before[name]), f"argument {name} was changed"


def _state(value: Any) -> Any:
    """Everything about an argument that a method might change."""
    if isinstance(value, Tensor):
        return value.clone(), value.requires_grad, value.dtype, value.grad
    if isinstance(value, torch.Generator):
        return ()  # to draw from it is its use
    if isinstance(value, Network):
        value = value.module
    if isinstance(value, nn.Module):
        modules = [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in value.modules()
        ]
        weights = [
            (w.clone(), w.requires_grad, w.grad) for w in value.state_dict(keep_vars=True).values()
        ]
        return modules, weights
    if isinstance(value, Mapping):
        return [*value, *map(_state, value.values())]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_state(item) for item in value]
    return value


@contextmanager
def untouched_process() -> Iterator[None]:
    before = _process()
    try:
        yield
    finally:
        after = _process()
        assert not [name for name in before if not _equal(before[name], after[name])]


def _process() -> dict[str, Any]:
    return {
        "random": random.getstate(),
        "numpy's random state": np.random.get_state()[1].tolist(),
        "torch's random state": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "benchmark mode": torch.backends.cudnn.benchmark,
    }


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def tensors(value: Any) -> list[Tensor]:
    """All numbers in an answer, in order."""
    if isinstance(value, Tensor | bool | int | float):
        return [torch.as_tensor(value)]
    if isinstance(value, nn.Module):
        value = value.state_dict()
    elif is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        value = list(value.values())
    return (
        [leaf for item in value for leaf in tensors(item)]
        if isinstance(value, list | tuple)
        else []
    )


def assert_same(one: Any, other: Any, **tolerance: float) -> None:
    for a, b in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(
            a, b, check_dtype=not tolerance, equal_nan=True, **(tolerance or {"rtol": 0, "atol": 0})
        )


def test_same_seed_same_answer_and_nothing_else_is_touched(any_method: Any) -> None:
    assert_same(Trial(any_method)(), Trial(any_method)())


def test_float64_in_float64_out(any_method: Any) -> None:
    wide, narrow = Trial(any_method)(double, built_with=double), Trial(any_method)()
    assert not [
        t.dtype for t in tensors(wide) if t.is_floating_point() and t.dtype != torch.float64
    ]
    assert_same(wide, narrow, rtol=1e-2, atol=1e-2)  # some are fitted step by step


@pytest.mark.parametrize("alter", [poisoned, only_one, none])
def test_a_clear_error_or_a_finite_answer(any_method: Any, alter: Alter) -> None:
    for trial in (
        lambda: Trial(any_method)(alter, built_with=alter),
        lambda: Trial(any_method)(alter),
    ):
        try:
            answer = trial()
        except LayerwiseError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        for value in tensors(answer):
            assert _finite_elsewhere(value) if alter is poisoned else value.isfinite().all()


def _finite_elsewhere(value: Tensor) -> bool:
    """Finite, but for the poisoned sample's own row, where there is a row for each sample."""
    per_sample = value.ndim > 0 and len(value) == 36
    return bool((value[1:] if per_sample else value).isfinite().all())


def test_pickle_keeps_everything(any_method: Any) -> None:
    trial = Trial(any_method)
    if not inspect.isclass(any_method):
        assert pickle.loads(pickle.dumps(any_method)) is any_method
        return
    subject = trial.build()
    again = pickle.loads(pickle.dumps(subject))
    assert_same(trial.answer(again), trial.answer(subject))


def test_the_state_dict_holds_all_that_was_fitted(any_method: Any) -> None:
    if not (inspect.isclass(any_method) and issubclass(any_method, nn.Module)):
        pytest.skip("not a module")
    trial = Trial(any_method)
    subject, other = trial.build(), Trial(any_method, seed=1).build()
    other.load_state_dict(subject.state_dict())
    assert_same(trial.answer(other), trial.answer(subject))
