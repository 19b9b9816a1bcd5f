"""The answer in words, and as code that uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerwise.atlas._atlas import Choice, Score, TargetRow
from layerwise.atlas._candidate import Candidate
from layerwise.atlas._choose import Key
from layerwise.atlas._price import Budget
from layerwise.models import Network

_POOLED = {
    "mean": "mean over places",
    "first": "first token",
    "last": "last token",
    "max": "maximum over places",
    "gem": "generalised mean over places",
    "greedy": "means over places, joined one after another",
    "weighted-sum": "means over places, learned weighted sum",
    "first-last": "means over places, averaged and whitened",
}
_POOLINGS = {"mean": "Mean", "first": "First", "last": "Last", "max": "Max", "gem": "GeM"}
_JOINS = {"greedy": "Greedy", "weighted-sum": "WeightedSum", "first-last": "FirstLast"}


def words(
    choice: Choice,
    row: TargetRow,
    networks: int,
    budget: Budget,
    candidates: Sequence[Candidate],
) -> str:
    """Say what the choice is, in a few sentences.

    Args:
        choice: the choice.
        row: its target.
        networks: how many there are.
        budget: what it may cost.
        candidates: all ways to read the target; of those that are too dear the best comes first.
    """
    best, last, cheapest = choice.best, choice.last, choice.cheapest
    sentences = [
        f"{row.target} is read best from {best.layer}{_of(best, networks)} ({_how(best)}): "
        f"{row.metric} {best.test:.3f}, 95 % interval {best.low:.3f} to {best.high:.3f}, on "
        f"samples that neither fitted nor chose it; knowing nothing gives {row.chance:.3f}."
    ]
    if (best.network, best.layer) == (last.network, last.layer):
        sentences.append("That is the last layer: nothing before it reads it better.")
    else:
        sure = choice.gain_low > 0 or choice.gain_high < 0
        sentences.append(
            f"The last layer, {last.layer}, gives {last.test:.3f}: a gain of {choice.gain:+.3f} "
            f"({choice.gain_low:+.3f} to {choice.gain_high:+.3f})"
            + ("." if sure else ", which these data cannot tell from none.")
        )
    if (cheapest.network, cheapest.layer) != (best.network, best.layer):
        saved = f" and takes {choice.saved:.0%} less time" if choice.saved >= 0.005 else ""
        sentences.append(
            f"{cheapest.layer}{_of(cheapest, networks)} ({cheapest.test:.3f}) is as good as "
            f"far as these data can tell{saved.replace('%', ' %')}."
        )
    dear = [candidate for candidate in candidates if not candidate.affordable]
    if dear:
        missed = dear[0].validation > best.validation
        sentences.append(
            f"A budget of {budget} leaves out {len(dear)} of {len(candidates)} ways to read it, "
            + (
                f"the best of them {dear[0].layer}{_of(dear[0], networks)} ({dear[0].test:.3f})."
                if missed
                else "none of which did better on validation samples."
            )
        )
    if not choice.enough:
        sentences.append(
            f"The data are too few to be sure: {row.test} test samples leave an interval "
            f"{best.high - best.low:.2f} wide. More samples, or more groups of them, would tell."
        )
    return " ".join(sentences)


def code(
    best: Score, networks: Mapping[str, Network], members: Mapping[Key, tuple[str, ...]]
) -> str:
    """Python that reads the chosen layer, or the layers that were joined, for new samples.

    Args:
        best: what was chosen.
        networks: by name.
        members: layers of each combination.
    """
    network = networks[best.network]
    sample = {
        "image": 'PIL.Image.open("picture.jpg")',
        "text": '"a sentence"',
        "tensor": "sample",
    }[network.modality]
    joined = members.get((best.network, best.layer, best.pooling))
    pooling = "Mean" if joined else _POOLINGS[best.pooling]
    lines = ["import layerwise"]
    lines += ["import PIL.Image"] if network.modality == "image" else []
    lines += [
        f"from layerwise.features import {pooling}",
        "",
        f"network = layerwise.open({network.source!r})",
        f"inputs = network.batch([network.prepare({sample})])",
        "pooled = layerwise.taps.pool(",
        f"    network, inputs, {list(joined) if joined else best.layer!r}, [{pooling}()]",
        ")",
    ]
    if joined is None:
        lines.append(f"features = pooled[{best.layer!r}, {best.pooling!r}]  # [n d]")
    else:
        lines += [
            "layers = {layer: features for (layer, _), features in pooled.items()}",
            f"# {_JOINS[best.pooling]}.fit of layerwise.fuse joins them, fitted on your samples.",
        ]
    return "\n".join(lines)


def _how(score: Score) -> str:
    return f"{_POOLED[score.pooling]}, {score.readout} readout"


def _of(score: Score | Candidate, networks: int) -> str:
    return f" of {score.network}" if networks > 1 else ""
