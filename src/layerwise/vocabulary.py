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

    from layerwise import Network

_SAMPLES, _CLASSES, _WIDTH, _PLACES, _SIDE, _WORDS = 36, 3, 6, 5, 8, 20


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


def _other(generator: Generator) -> Tensor:
    """The clouds seen through another, narrower network."""
    import torch

    return _clouds(generator) @ torch.randn(_WIDTH, _WIDTH - 2, generator=generator)


def _queries(generator: Generator) -> Tensor:
    return _clouds(generator)[:4] + 0.1


def _feature_map(generator: Generator) -> Tensor:
    """Maps whose channels are lit in different places."""
    import torch

    return torch.rand(_SAMPLES, _WIDTH, _PLACES, _PLACES, generator=generator)


def _masks(_: Generator) -> Tensor:
    """A first object on the left of a first frame, and a second one on its right."""
    import torch

    left = (torch.arange(_PLACES) < _PLACES // 2).float().expand(_PLACES, _PLACES)
    return torch.stack([left, 1 - left])[None]


def _heat(generator: Generator) -> Tensor:
    import torch

    return torch.rand(_SAMPLES, 1, _PLACES, _PLACES, generator=generator)


def _image(generator: Generator) -> Tensor:
    import torch

    return torch.rand(_SAMPLES, 3, _SIDE, _SIDE, generator=generator)


def _partner(generator: Generator) -> Tensor:
    """The pictures a little to the right."""
    return _image(generator).roll(1, 3)


def _network(generator: Generator) -> Network:
    """A small convolutional network of pictures, with one output for each class."""
    import torch
    from torch import nn

    import layerwise

    with torch.random.fork_rng(devices=[]):  # constructors draw from the global state
        module = nn.Sequential(
            nn.Conv2d(3, _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(_WIDTH, _CLASSES),
        )
    _draw_weights(module, generator)
    return layerwise.open(module.eval(), example=torch.zeros(1, 3, _SIDE, _SIDE))


def _language_model(generator: Generator) -> Network:
    """A small Llama with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import layerwise

    config = LlamaConfig(
        vocab_size=_WORDS,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng(devices=[]):
        module = LlamaForCausalLM(config)
    _draw_weights(module, generator)
    return layerwise.open(module.eval(), example={"input_ids": _token_ids(generator)[:1]})


def _draw_weights(module: Any, generator: Generator) -> None:
    import torch

    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)


def _token_ids(generator: Generator) -> Tensor:
    import torch

    return torch.randint(_WORDS, (_SAMPLES, _PLACES), generator=generator)


def _layers(generator: Generator) -> dict[str, Tensor]:
    return {name: _clouds(generator) for name in ("early", "late")}


def _snapshots(generator: Generator) -> list[Tensor]:
    """A layer that tells the classes apart better and better."""
    import torch

    noise = torch.randn(_SAMPLES, _WIDTH, generator=generator)
    clouds = _clouds(generator)
    return [noise + share * clouds for share in (0.0, 0.3, 1.0)]


WORDS = (
    Word(
        "feature_map",
        "a layer's output that has places in rows and columns",
        "[n c h w]",
        _feature_map,
    ),
    Word("features", "one row of numbers for each sample", "[n d]", _clouds),
    Word(
        "heat", "how much each place counts, as an explanation says", "[n 1 h w] or [n t 1]", _heat
    ),
    Word("image", "pictures, as the network takes them", "[n 3 H W]", _image),
    Word("inputs", "a batch, as the network takes it", "[n ...]", _image),
    Word("labels", "class of each sample, counted from 0", "[n] int64", _labels),
    Word(
        "language_model", "a causal language model, as `open` gives it", "Network", _language_model
    ),
    Word("layers", "features of several layers, by address", "{address: [n d]}", _layers),
    Word("masks", "regions of pictures, one map for each object, from 0 to 1", "[m k h w]", _masks),
    Word("network", "a network, as `open` gives it", "Network", _network),
    Word("other", "the same samples read by another layer or network", "[n e]", _other),
    Word(
        "partner",
        "for each picture another of the same thing, to match with",
        "[n 3 H W]",
        _partner,
    ),
    Word("queries", "rows that are looked up among `features`", "[m d]", _queries),
    Word(
        "snapshots",
        "a layer at several times of its training, earliest first",
        "[n d] each",
        _snapshots,
    ),
    Word("targets", "a quantity of each sample", "[n]", _targets),
    Word("token_ids", "pieces of text, by number", "[n t] int64", _token_ids),
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
