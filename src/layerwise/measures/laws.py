"""What every measure keeps. Run `check` on your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.vocabulary import examples

Change = Callable[[Tensor, torch.Generator], Tensor]
"""Makes other features of features: what a measure may declare that it does not feel."""


@runtime_checkable
class Streamed(Protocol):
    """Sums up a measure from batches that come one after another."""

    def update(self, features: Any) -> None:
        """Take in one batch."""
        ...

    def result(self) -> Tensor:
        """The measure of all samples so far."""
        ...


def turned(features: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """The features in other axes: a random orthogonal transform."""
    noise = torch.randn(2 * [features.shape[1]], dtype=features.dtype, generator=generator)
    return features @ torch.linalg.qr(noise).Q


def scaled(features: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """All features times one positive number."""
    return features * (0.1 + 10 * torch.rand((), dtype=features.dtype, generator=generator))


def moved(features: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """The features around another origin."""
    return features + 5 * torch.randn(features.shape[1], dtype=features.dtype, generator=generator)


def check(
    measure: Callable[..., Any], *, invariances: Sequence[Change] = (), seed: int = 0
) -> None:
    """Try a measure on small examples.

    The order of the samples changes nothing; nor does what the measure declares; arguments and the
    global random state stay as they are; float64 is answered in float64 and float32 nearly alike;
    NaN, one sample and none are refused, or answered with finite numbers.

    Args:
        measure: what to try; its required arguments are words of the vocabulary.
        invariances: changes of the features that it does not feel, as `turned` or `scaled`.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.measures import effective_rank
        >>> check(effective_rank, invariances=(turned, scaled, moved))
    """
    generator = torch.Generator().manual_seed(seed)
    given = {name: _double(value) for name, value in examples(measure, seed=seed).items()}
    before = {name: value.clone() for name, value in given.items()}
    state = torch.get_rng_state()
    answer = _numbers(measure(**given))
    assert all(torch.equal(given[name], before[name]) for name in given), "an argument was changed"
    assert torch.equal(torch.get_rng_state(), state), "the global random state was changed"
    assert answer, "the answer holds no number"
    assert all(n.dtype == torch.float64 for n in answer), "float64 is not answered in float64"
    single = {name: _single(value) for name, value in given.items()}
    _close(_numbers(measure(**single)), answer, "float32 differs from float64", rtol=1e-3)
    check_order(measure, torch.randperm(len(next(iter(given.values()))), generator=generator))
    for change in invariances:
        other = {
            name: change(value, generator) if value.is_floating_point() else value
            for name, value in given.items()
        }
        _close(_numbers(measure(**other)), answer, f"features {change.__name__} are felt")
    _check_bad(measure, given)


def check_order(measure: Callable[..., Any], order: Int[Tensor, " n"], *, seed: int = 0) -> None:
    """Try that a measure does not feel one order of the samples.

    Args:
        measure: what to try.
        order: the samples of the examples in another order.
        seed: of the examples.

    Raises:
        AssertionError: the order is felt.

    Example:
        >>> from layerwise.measures import participation_ratio
        >>> check_order(participation_ratio, torch.arange(36).flip(0))
    """
    given = {name: _double(value) for name, value in examples(measure, seed=seed).items()}
    mixed = {name: value[order] for name, value in given.items()}
    _close(
        _numbers(measure(**mixed)), _numbers(measure(**given)), "the order of the samples is felt"
    )


def check_streamed(
    make: Callable[[], Streamed],
    whole: Callable[[Any], Tensor],
    layers: Sequence[Float[Tensor, "n _"]],
    *,
    batches: Sequence[int] = (1, 7, 36),
) -> None:
    """Try that batches of any size come to the same as all samples at once.

    Args:
        make: begins a stream.
        whole: the same measure of all samples.
        layers: what to stream, the same samples in each; a single layer is given as it is.
        batches: sizes to try.

    Raises:
        AssertionError: the size of the batches is felt.

    Example:
        >>> from layerwise.measures import Covariance
        >>> check_streamed(Covariance, lambda x: x.T.cov(), [torch.eye(3, dtype=torch.float64)])
    """
    expected = whole(layers if len(layers) > 1 else layers[0])
    for size in batches:
        streamed = make()
        for batch in zip(*(layer.split(size) for layer in layers), strict=True):
            streamed.update(batch if len(batch) > 1 else batch[0])
        _close([streamed.result()], [expected], f"batches of {size} are felt", rtol=1e-9)


def _check_bad(measure: Callable[..., Any], given: Mapping[str, Tensor]) -> None:
    spoiled = {name: _spoiled(value) for name, value in given.items()}
    cut = [{name: value[:n] for name, value in given.items()} for n in (1, 0)]
    for what, bad in zip(("NaN", "one sample", "no samples"), (spoiled, *cut), strict=True):
        try:
            answer = _numbers(measure(**bad))
        except LayerwiseError:
            continue
        assert all(n.isfinite().all() for n in answer), f"{what} is neither refused nor answered"


def _double(value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor.double() if tensor.is_floating_point() else tensor


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _spoiled(value: Tensor) -> Tensor:
    return value.index_fill(0, torch.tensor([0]), torch.nan) if value.is_floating_point() else value


def _numbers(answer: Any) -> list[Tensor]:
    """The tensors of an answer: itself, or the fields of a dataclass."""
    if isinstance(answer, Tensor):
        return [answer]
    values = [getattr(answer, f.name) for f in fields(answer)] if is_dataclass(answer) else []
    return [value for value in values if isinstance(value, Tensor)]


def _close(one: list[Tensor], other: list[Tensor], what: str, *, rtol: float = 1e-6) -> None:
    for a, b in zip(one, other, strict=True):
        same = torch.allclose(a.double(), b.double(), rtol=rtol, atol=rtol, equal_nan=True)
        assert same, f"{what}: {a.tolist()} instead of {b.tolist()}"
