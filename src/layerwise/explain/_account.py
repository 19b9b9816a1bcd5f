"""What a network says of some samples, why, and how far to believe each reason.

A classifier is asked for its classes, a language model for its next word. A network that returns
the states of tokens has neither; asked is then what makes a sample's embedding what it is: the
cosine between the mean state of what is seen and that of the whole sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from layerwise.errors import LayerwiseError
from layerwise.explain._compare import Judged, Progress, compare
from layerwise.explain._differentiable import Inputs
from layerwise.explain._faithfulness import probabilities
from layerwise.explain._hide import covered, main
from layerwise.explain._target import Target
from layerwise.explain._ways import Way, way, ways
from layerwise.features import Last
from layerwise.models import ImagePreparation, Network, TextPreparation

_SHOWN = 3
_IMAGENET = 1000


@final
@dataclass(frozen=True)
class Said:
    """One column of the target, and how probable the network finds it.

    Args:
        label: number of the column.
        name: what people call it.
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
    target = _target(network, of)
    columns = target.read(network, inputs)
    embeds = of is None and network.layers.find(target.layer).sure.form == "tokens"
    embeds = embeds and not isinstance(target.pooling, Last)
    if embeds:
        target = replace(target, head=_Likeness(columns))
        columns = target.read(network, inputs)
    if label is not None and not 0 <= label < columns.shape[1]:
        raise LayerwiseError(
            f"target {label} is out of range: {network.name} has {columns.shape[1]} columns at "
            f"{target.layer!r}, so give 0 to {columns.shape[1] - 1}"
        )
    labels = columns.argmax(1) if label is None else torch.full_like(columns.argmax(1), label)
    scale = _as_it_is if embeds else probabilities
    judged = compare(
        network,
        inputs,
        labels,
        chosen,
        layers=layers,
        target=target,
        hide=_but_last if isinstance(target.pooling, Last) else covered,
        scale=scale,
        seed=seed,
        progress=progress,
    )
    chances = scale(columns)
    naming = names.__getitem__ if embeds else _Names(network, columns.shape[1])
    subjects = []
    for i, name in enumerate(names):
        best = chances[i].topk(min(_SHOWN, chances.shape[1])).indices.tolist()
        said = tuple(Said(k, naming(k), float(chances[i, k])) for k in best)
        aim = int(labels[i])
        subjects.append(
            Subject(
                name,
                said,
                Said(aim, naming(aim), float(chances[i, aim])),
                _picture(network, inputs, i),
                _tokens(network, inputs, i),
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


def sample_of(network: Network, source: str) -> tuple[Any, str]:
    """One sample, as a user names it: a picture's file, a text's file, or the text itself.

    Args:
        network: for whose inputs.
        source: as the user wrote it.

    Returns:
        The sample and what people call it.

    Raises:
        LayerwiseError: there is no such picture, or it cannot be read.
    """
    path = Path(source).expanduser()
    if network.modality == "text":
        named = len(source) < 256 and path.suffix in (".txt", ".md") and path.is_file()
        return (path.read_text(encoding="utf-8", errors="replace"), path.name) if named else (
            source, source if len(source) < 60 else f"{source[:57]}..."
        )  # fmt: skip
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise LayerwiseError(f"there is no picture at {source!r}; give the path of a file")
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy(), path.name
    except (UnidentifiedImageError, OSError) as error:
        raise LayerwiseError(f"{source!r} cannot be read as a picture: {error}") from error


_DEFAULT = {"image": ("grad-cam",), "text": ("norm-x-logit",)}


def _target(network: Network, of: str | None) -> Target:
    if of is not None:
        return Target(network.layers.find(of).name)
    try:
        returned = network.layers.find(".")
    except LayerwiseError as error:
        raise LayerwiseError(f"{error}; name one with of=, --of in the command") from error
    next_word = returned.sure.form == "tokens" and returned.name.endswith("['logits']")
    return Target(returned.name, Last()) if next_word else Target(returned.name)


def _but_last(
    network: Network,
    inputs: Inputs,
    /,
    *,
    keep: Tensor | None = None,
    target: Target | None = None,
) -> Float[Tensor, "n c"]:
    """Cover words, but never the last, which is where the next one is read off."""
    if keep is not None:
        keep = keep.clone()
        keep[:, -1] = 1
    return covered(network, inputs, keep=keep, target=target)


class _Likeness:
    """Cosine to the embedding of each of some samples."""

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = normalize(embeddings, dim=1)

    def __call__(self, rows: Tensor) -> Tensor:
        return normalize(rows, dim=1) @ self.embeddings.to(rows).T


def _as_it_is(columns: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    return columns


class _Names:
    """What people call the columns."""

    def __init__(self, network: Network, columns: int) -> None:
        self.network, self.columns = network, columns

    def __call__(self, label: int) -> str:
        prepare = self.network.prepare
        if isinstance(prepare, TextPreparation) and self.columns >= len(prepare.tokenizer) > 0:
            return str(prepare.tokenizer.decode([label]))
        if isinstance(prepare, ImagePreparation) and self.columns == _IMAGENET:
            from timm.data import ImageNetInfo

            return str(ImageNetInfo().index_to_description(label)).split(",")[0]
        return f"column {label}"


def _picture(network: Network, inputs: Inputs, i: int) -> Tensor | None:
    values = inputs if isinstance(inputs, Tensor) else inputs[main(inputs)]
    if values.ndim != 4 or values.shape[1] != 3:
        return None
    shown = values[i].detach().float().cpu()
    prepare = network.prepare
    if isinstance(prepare, ImagePreparation):
        std, mean = (torch.tensor(each).view(3, 1, 1) for each in (prepare.std, prepare.mean))
        return (shown * std + mean).clamp(0, 1)
    return (shown - shown.amin()) / (shown.amax() - shown.amin()).clamp(min=1e-9)


def _tokens(network: Network, inputs: Inputs, i: int) -> tuple[str, ...]:
    if network.modality != "text" or isinstance(inputs, Tensor):
        return ()
    ids = inputs[main(inputs)][i]
    mask = inputs.get("attention_mask")
    length = int(mask[i].sum()) if mask is not None else len(ids)
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        return tuple(str(int(number)) for number in ids[:length])
    pieces = prepare.tokenizer.convert_ids_to_tokens(ids[:length].tolist())
    return tuple(str(p).replace("Ġ", " ").replace("Ċ", "\n").replace("▁", " ") for p in pieces)


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
