"""How deep does a language model have to be for a text?

Beside what a probe reads off each layer: how often the layer would already say what the network
says in the end, as it is (logit lens) and after a linear shortcut; how much its attention and its
MLP add to what is there; what is missed when it is left out; how far the states of equal next
tokens have collapsed; and whether it knows words that the texts go on with. Shortcuts are fitted on
some texts, and all else is measured on others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.atlas._language_rows import Language, LanguageRow
from layerwise.atlas._language_words import language_words
from layerwise.data import Samples, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.explain import LinearShortcut
from layerwise.measures import (
    Asked,
    ChoiceProbe,
    DepthUse,
    Interval,
    bootstrap_mean,
    choice_probe,
    cloze,
    depth_use,
    neural_collapse,
)
from layerwise.models import Network
from layerwise.taps import Lens, Unembed, logit_lens, read
from layerwise.taps._lens import stream_layers

_LENGTH = 48  # tokens of a text that are looked at
_FITTED, _LOOKED, _SKIPPED, _ASKED = 64, 8, 4, 24  # texts for each part, and questions
_HELD = 2**27  # numbers of states in memory
_CHARACTERS = 200  # of a text that is asked about
_KEPT = 0.95


def is_language_model(network: Network) -> bool:
    """Whether a network of texts has a head that names the next token."""
    return _unembedding(network) is not None


def language_of(network: Network, samples: Samples, seed: int) -> Language | None:
    """Measure a network on texts; None where it is no language model, or has too few texts."""
    unembed = _unembedding(network)
    if unembed is None:
        return None
    names = stream_layers(network, None, last=unembed.block)
    texts = _Texts.drawn(network, samples, seed, layers=len(names))
    if texts is None:
        return None
    fitted, looked = texts.part(slice(_LOOKED, None)), texts.part(slice(_LOOKED))
    states = {
        name: values[fitted.real]
        for name, values in read(network, {"input_ids": fitted.ids}, names).items()
    }
    shortcut = LinearShortcut.fit(states)
    cdnv = [_cdnv(states[name], fitted) for name in names]
    del states
    plain = logit_lens(network, looked.ids, mask=looked.real)
    cast = logit_lens(network, looked.ids, mask=looked.real, cast=shortcut)
    few = texts.part(slice(_SKIPPED))
    use = depth_use(network, few.ids, mask=few.real)
    answers = _answers(network, samples, seed)
    return language_words(
        Language(
            network=network.name,
            texts=len(texts.ids),
            tokens=int(looked.real.sum()),
            fitted=int(fitted.real.sum()),
            blocks=len(use.layers),
            effective_depth=use.effective_depth,
            exit_depth=_exit(cast),
            chance=answers.chance if answers else None,
            rows=_rows(
                network.name, plain, cast, use, answers=answers, cdnv=cdnv, groups=looked.owners
            ),
            words="",
        )
    )


def _unembedding(network: Network) -> Unembed | None:
    if network.modality != "text":
        return None
    try:
        return Unembed(network)
    except LayerwiseError:
        return None


@dataclass(frozen=True)
class _Texts:
    """Texts in tokens, cut to one length and padded on the right."""

    ids: Int[Tensor, "n t"]
    real: Bool[Tensor, "n t"]

    @classmethod
    def drawn(cls, network: Network, samples: Samples, seed: int, *, layers: int) -> _Texts | None:
        found: list[Tensor] = []
        width = network.layers[Unembed(network).block].width
        most = _LOOKED + min(_FITTED, max(_LOOKED, _HELD // (width * layers * _LENGTH)))
        generator = torch.Generator().manual_seed(seed)
        for row in torch.randperm(len(samples), generator=generator).tolist():
            try:
                ids = network.prepare(samples.load(row))["input_ids"][:_LENGTH]
            except (Unreadable, LayerwiseError):
                continue
            if len(ids) >= 2:
                found.append(ids)
            if len(found) == most:
                break
        if len(found) < 2 * _LOOKED:
            return None
        padded = torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
        lengths = torch.tensor([len(ids) for ids in found])
        real = torch.arange(padded.shape[1]) < lengths[:, None]
        return cls(padded.to(network.device), real.to(network.device))

    def part(self, rows: slice) -> _Texts:
        return _Texts(self.ids[rows], self.real[rows])

    @property
    def owners(self) -> list[int]:
        """The text that each real token stands in."""
        return [i for i, count in enumerate(self.real.sum(1).tolist()) for _ in range(count)]


def _cdnv(states: Float[Tensor, "n d"], texts: _Texts) -> float | None:
    """Collapse of the states before equal next tokens; the first place of a text is no example."""
    following = torch.full_like(texts.ids, -1)
    following[:, :-1] = texts.ids[:, 1:]
    following[:, :-1][~texts.real[:, 1:]] = -1
    following[:, 0] = -1
    labels = following[texts.real]
    known = labels >= 0
    try:
        value = float(neural_collapse(states[known], labels[known], min_count=8).cdnv)
    except LayerwiseError:
        return None
    return value if math.isfinite(value) else None


def _answers(network: Network, samples: Samples, seed: int) -> ChoiceProbe | None:
    """Which words the texts go on with; None where they hold too few words."""
    texts: list[str] = []
    generator = torch.Generator().manual_seed(seed + 1)
    for row in torch.randperm(len(samples), generator=generator)[: 2 * _FITTED].tolist():
        try:
            texts.append(samples.load(row)[:_CHARACTERS])
        except Unreadable:
            continue
    try:
        asked = Asked.of(network, cloze(texts, _ASKED, seed=seed))
    except LayerwiseError:
        return None
    return choice_probe(network, asked.token_ids, asked.labels, options=asked.options)


def _exit(lens: Lens) -> float | None:
    """Share of the layers that run where tokens stop early and keep 95 % of their predictions."""
    found = None
    for level in torch.linspace(0.05, 1, 20).tolist():
        depth, stayed = lens.exit(level)
        if stayed.double().mean() >= _KEPT and found is None:
            found = float(depth.mean())
    return found


def _rows(
    network: str,
    plain: Lens,
    cast: Lens,
    use: DepthUse,
    *,
    answers: ChoiceProbe | None,
    cdnv: Sequence[float | None],
    groups: Sequence[int],
) -> tuple[LanguageRow, ...]:
    lens, short = (bootstrap_mean(each.agrees.T.double(), groups=groups) for each in (plain, cast))
    right = answers.accuracy() if answers else None
    place = {name: i for i, name in enumerate(use.layers)}
    later = use.skipped.later.mean(0).sum(1) / torch.arange(len(place), 0, -1).sub(1).clamp(min=1)
    found = []
    for i, name in enumerate(plain.layers):
        block = place.get(name)

        def of(values: Tensor, block: int | None = block) -> float | None:
            """The mean over texts at this block, if it is one."""
            if block is None:
                return None
            value = float(values.mean(0)[block] if values.ndim > 1 else values[block])
            return value if math.isfinite(value) else None

        found.append(
            LanguageRow(
                network=network,
                layer=name,
                lens=float(lens.value[i]),
                lens_low=float(lens.low[i]),
                lens_high=float(lens.high[i]),
                shortcut=float(short.value[i]),
                shortcut_low=float(short.low[i]),
                shortcut_high=float(short.high[i]),
                divergence=float(plain.divergence[i].mean()),
                attention=of(use.attention),
                mlp=of(use.mlp),
                skipped_later=None if name == plain.layers[-1] else of(later),
                skipped_output=of(use.skipped.output),
                future_later=None if name == plain.layers[-1] else of(use.effect),
                future_output=of(use.future.output),
                cdnv=cdnv[i],
                **_answered(right, i),
            )
        )
    return tuple(found)


def _answered(right: Interval | None, i: int) -> dict[str, float | None]:
    if right is None:
        return {"answers": None, "answers_low": None, "answers_high": None}
    ends = (right.value, right.low, right.high)
    names = ("answers", "answers_low", "answers_high")
    return {name: float(end[i]) for name, end in zip(names, ends, strict=True)}
