"""What a network says of some samples, why, and how far to believe each reason.

A classifier is asked for its classes, a language model for its next word. A network that returns
the states of tokens has neither; asked is then what makes a sample's embedding what it is: how far
the mean state of what is seen reaches along that of the whole sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._asked import Likeness, Names, as_it_is, asked, covered_but_last
from layerwise.explain._compare import Judged, Progress, compare
from layerwise.explain._faithfulness import probabilities
from layerwise.explain._hide import covered
from layerwise.explain._sample import picture_of, tokens_of
from layerwise.explain._ways import Way, way, ways
from layerwise.features import Last
from layerwise.models import Network

_SHOWN = 3


@final
@dataclass(frozen=True)
class Said:
    """One column of the target, and how probable the network finds it.

    Args:
        label: number of the column.
        name: what people call it; of an embedding, the sample that it belongs to.
        probability: softmax over the columns; of an embedding, how like it is to a sample's.
    """

    label: int
    name: str
    probability: float


@final
@dataclass(frozen=True)
class Subject:
    """One sample that is explained.

    Args:
        name: what people call it.
        said: what the network finds most probable.
        aim: what is explained.
        picture: `[3 H W]` from 0 to 1, as the network saw it; None for a text.
        words: the tokens of a text.
    """

    name: str
    said: tuple[Said, ...]
    aim: Said
    picture: Float[Tensor, "3 H W"] | None
    words: tuple[str, ...]


@final
@dataclass(frozen=True)
class Account:
    """Explanations of some samples, ranked by how far they beat chance.

    Args:
        network: its name.
        target: address of the layer that what is explained is read off.
        subjects: the samples.
        judged: ways and layers, the most faithful first.
        notes: what had to be done to the samples, a line each.
    """

    network: str
    target: str
    subjects: tuple[Subject, ...]
    judged: tuple[Judged, ...]
    notes: tuple[str, ...] = ()


def account(
    network: Network,
    samples: Sequence[Any],
    names: Sequence[str],
    *,
    methods: Sequence[str] = (),
    layers: str = "stages",
    label: int | None = None,
    of: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Account:
    """Explain what a network says of pictures or texts.

    Args:
        network: the network, which is left as it was.
        samples: PIL pictures or strings, as the network takes them.
        names: what people call them.
        methods: names of ways; the default is the plainest for pictures or for texts.
        layers: addresses or patterns, for ways that explain layers.
        label: column of the target; the default is what the network finds most probable.
        of: address of the layer that it is read off; the default is what the network returns.
        seed: for the judgement.
        progress: called after every map that was judged.

    Raises:
        LayerwiseError: no samples, a label out of range, a way that is not for such samples.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 9, 9))
        >>> told = account(network, [torch.rand(3, 9, 9)], ["noise"], layers="1")
        >>> told.judged[0].way, len(told.subjects[0].said)
        ('grad-cam', 3)
    """
    if not samples:
        raise LayerwiseError("there are no samples to explain; give at least one")
    kind = "text" if network.modality == "text" else "image"
    chosen = [way(name) for name in methods or _DEFAULT[kind]]
    for each in chosen:
        if each.modality not in ("any", kind):
            raise LayerwiseError(
                f"{each.name!r} explains {each.modality}s and {network.name} takes {kind}s; "
                f"take one of {', '.join(e.name for e in suited(network))}"
            )
    prepared = [network.prepare(sample) for sample in samples]
    inputs = network.batch(prepared)
    network.take_example(inputs)
    target = asked(network, of)
    columns = target.read(network, inputs)
    embeds = of is None and network.layers.find(target.layer).sure.form == "tokens"
    embeds = embeds and not isinstance(target.pooling, Last)
    if embeds:
        target = replace(target, head=Likeness(columns))
        columns = target.read(network, inputs)
    if label is not None and not 0 <= label < columns.shape[1]:
        raise LayerwiseError(
            f"target {label} is out of range: {network.name} has {columns.shape[1]} columns at "
            f"{target.layer!r}, so give 0 to {columns.shape[1] - 1}"
        )
    labels = columns.argmax(1) if label is None else torch.full_like(columns.argmax(1), label)
    scale = as_it_is if embeds else probabilities
    judged = compare(
        network,
        inputs,
        labels,
        chosen,
        layers=layers,
        target=target,
        hide=covered_but_last if isinstance(target.pooling, Last) else covered,
        scale=scale,
        seed=seed,
        progress=progress,
    )
    chances = scale(columns)
    naming = names.__getitem__ if embeds else Names(network, columns.shape[1])
    subjects = []
    for i, name in enumerate(names):

        def called(k: int, own: int = i) -> str:
            return "its own embedding" if embeds and k == own else naming(k)

        best = chances[i].topk(min(_SHOWN, chances.shape[1])).indices.tolist()
        said = tuple(Said(k, called(k), float(chances[i, k])) for k in best)
        aim = int(labels[i])
        subjects.append(
            Subject(
                name,
                said,
                Said(aim, called(aim), float(chances[i, aim])),
                picture_of(network, inputs, i),
                tokens_of(network, inputs, i),
            )
        )
    return Account(network.name, target.layer, tuple(subjects), judged, _notes(prepared, names))


def suited(network: Network) -> tuple[Way, ...]:
    """The ways that explain what a network takes.

    Args:
        network: the network.
    """
    kind = "text" if network.modality == "text" else "image"
    return tuple(each for each in ways() if each.modality in ("any", kind))


_DEFAULT = {"image": ("grad-cam",), "text": ("norm-x-logit",)}


def _notes(prepared: Sequence[Any], names: Sequence[str]) -> tuple[str, ...]:
    cut = [
        name
        for name, sample in zip(names, prepared, strict=True)
        if isinstance(sample, dict) and sample.get("truncated")
    ]
    return tuple(
        f"{name} is longer than the network can read; only its beginning is explained."
        for name in cut
    )
