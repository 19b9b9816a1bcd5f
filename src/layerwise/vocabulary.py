"""The words that a method may use for a required argument: what each means, its shape, an example.

A method's signature is its schema. Because every required argument is one of these words, and the
rest is keyword-only with a default, one test can call any method without knowing its name. All
examples belong to one small world of 36 samples in 3 classes, so that they fit together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from layerwise.errors import unknown

if TYPE_CHECKING:
    from torch import Generator, Tensor

_SAMPLES, _CLASSES, _WIDTH, _PLACES = 36, 3, 6, 5


@final
@dataclass(frozen=True)
class Word:
    """A name for an argument.

    Args:
        name: the word itself, as it stands in signatures.
        meaning: what the argument is.
        shape: its axes, or its type.
        example: makes a small one; equal seeds make equal examples.
    """

    name: str
    meaning: str
    shape: str
    example: Callable[[Generator], Any]


def _labels(_: Generator) -> Tensor:
    import torch

    return torch.arange(_SAMPLES) % _CLASSES


def _clouds(generator: Generator) -> Tensor:
    """One cloud of points for each class, `[n d]`."""
    import torch

    centres = torch.randn(_CLASSES, _WIDTH, generator=generator)
    return 3 * centres[_labels(generator)] + torch.randn(_SAMPLES, _WIDTH, generator=generator)


def _targets(generator: Generator) -> Tensor:
    import torch

    return _labels(generator) + 0.1 * torch.randn(_SAMPLES, generator=generator)


def _tokens(generator: Generator) -> Tensor:
    import torch

    noise = torch.randn(_SAMPLES, _PLACES, _WIDTH, generator=generator)
    return _clouds(generator).unsqueeze(1) + noise


def _layers(generator: Generator) -> dict[str, Tensor]:
    return {name: _clouds(generator) for name in ("early", "late")}


WORDS = (
    Word("features", "one row of numbers for each sample", "[n d]", _clouds),
    Word("labels", "class of each sample, counted from 0", "[n] int64", _labels),
    Word("layers", "features of several layers, by address", "{address: [n d]}", _layers),
    Word("targets", "a quantity of each sample", "[n]", _targets),
    Word("tokens", "places of each sample, such as words or patches", "[n t d]", _tokens),
)
"""The whole vocabulary."""


def examples(method: Callable[..., Any], *, seed: int = 0) -> dict[str, Any]:
    """Make an example for every required argument of a method.

    Args:
        method: a function, or a class for the arguments of its constructor.
        seed: for the examples.

    Raises:
        LayerwiseError: a required argument is not a word of the vocabulary.

    Example:
        >>> def spread(features, *, eps=1e-6): ...
        >>> examples(spread)["features"].shape
        torch.Size([36, 6])
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {name: _word(name).example(generator) for name in required(method)}


def arguments(method: Any) -> frozenset[str]:
    """The names of everything a method asks for: when it is fitted or made, and when it is called.

    Example:
        >>> from layerwise.search import NearestMean
        >>> sorted(arguments(NearestMean))
        ['features', 'labels']
    """
    if not inspect.isclass(method):
        return frozenset(required(method))
    own: Mapping[str, Any] = vars(method)
    asked = required(own["fit"].__func__)[1:] if "fit" in own else required(method)
    calls = [required(own[name])[1:] for name in ("forward", "__call__") if name in own]
    return frozenset([*asked, *(name for call in calls for name in call)])


def required(method: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a method's arguments that have no default.

    Example:
        >>> required(lambda features, other, eps=1: None)
        ('features', 'other')
    """
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in several
    )


def _word(name: str) -> Word:
    for word in WORDS:
        if word.name == name:
            return word
    raise unknown("word of the vocabulary", name, (word.name for word in WORDS))
