"""Neurons of languages against rates written out, and turned off in a real language model."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.explain import language_neurons, language_space, switched_off
from layerwise.models import Network
from layerwise.taps import edit
from layerwise.vocabulary import examples

LANGUAGES = ("English", "Python", "C++", "JavaScript")
PIECE = 64
"""Tokens of a text."""


def _small() -> tuple[Network, Tensor, Tensor]:
    given = examples(language_neurons)
    return given["language_model"], given["token_ids"], given["labels"]


def test_equals_rates_and_entropies_written_out() -> None:
    network, texts, labels = _small()
    found = language_neurons(network, texts, labels, share=0.1, often=0.5)
    read = layerwise.read(network, {"input_ids": texts}, found.layers)
    fires = np.stack([(value > 0).numpy() for value in read.values()])
    rates = np.stack([fires[:, labels.numpy() == c].mean((1, 2)) for c in range(3)])
    np.testing.assert_allclose(found.rates, rates, rtol=1e-6)
    shares = rates / rates.sum(0).clip(1e-30)
    entropy = -(shares * np.log(shares.clip(1e-30))).sum(0)
    np.testing.assert_allclose(found.entropy, entropy, rtol=1e-4, atol=1e-6)
    bar = np.sort(rates.ravel())[int(0.5 * (rates.size - 1))]
    entropy[~(rates > bar).any(0)] = np.inf
    lowest = np.sort(entropy.ravel())[: round(0.1 * entropy.size)]
    assert sorted(found.entropy[found.chosen.any(0)].tolist()) == pytest.approx(lowest, abs=1e-6)
    assert not (found.chosen.numpy() & (rates <= bar)).any()
    assert (found.exclusive.sum(0) <= 1).all()


def test_neurons_that_are_off_stay_at_zero() -> None:
    network, texts, labels = _small()
    found = language_neurons(network, texts, labels, share=0.1)
    label = int(found.chosen.flatten(1).any(1).nonzero()[0])
    with edit(network, found.off(label)):
        read = layerwise.read(network, {"input_ids": texts}, found.layers)
    for row, name in enumerate(found.layers):
        assert not read[name][..., found.chosen[label, row]].any()


def test_a_layer_is_near_to_the_languages_whose_tokens_it_would_say() -> None:
    network, texts, labels = _small()
    found = language_space(network, texts, labels)
    with torch.no_grad():
        output = network({"input_ids": texts, "output_hidden_states": True})
    own = [set(texts[labels == c].flatten().tolist()) for c in range(3)]
    for c in range(3):
        alone = sorted(own[c] - own[c - 1] - own[c - 2])
        assert found.tokens[c] == len(alone)
        expected = output.logits.softmax(2)[labels == 1][..., alone].sum(2).mean()
        torch.testing.assert_close(found.mass[-1, 1, c], expected)


def test_languages_without_texts_are_refused() -> None:
    network, texts, labels = _small()
    with pytest.raises(LayerwiseError, match=r"each language: \[36\]"):
        language_neurons(network, texts, labels * 0)
    with pytest.raises(LayerwiseError, match=r"each language: \[12, 0, 12, 0, 12\]"):
        language_neurons(network, texts, labels * 2)
    with pytest.raises(LayerwiseError, match="share=0"):
        language_neurons(network, texts, labels, share=0.0)
    with pytest.raises(LayerwiseError, match="different numbers of neurons"):
        language_neurons(network, texts, labels, layers="re:.*(up|down)_proj")


def _sources() -> list[str]:
    """Much text of each language, out of installed packages."""
    library, package = Path(sysconfig.get_paths()["stdlib"]), Path(torch.__file__).parent
    samples = layerwise.data.open("stdlib")
    kinds = samples.targets["kind"]
    english = [
        samples.load(i)
        for i in range(0, len(samples), 1)
        if kinds.classes[int(kinds.values[i])] == "docstring"
        and samples.targets["order"].classes[int(samples.targets["order"].values[i])] == "kept"
    ]
    python = [(library / f"{name}.py").read_text() for name in ("tarfile", "zipfile", "shutil")]
    c = [path.read_text() for path in sorted((package / "include/c10/util").glob("*.h"))]
    script = [(package / "utils/model_dump/code.js").read_text()]
    return ["\n".join(parts) for parts in (english, python, c, script)]


@pytest.fixture(scope="module")
def pieces(smollm2: Network) -> Tensor:
    """Texts of each language `[4 8 64]`, far from each other in the source."""
    found = []
    for source in _sources():
        starts = [int(place * (len(source) - 2000) / 8) for place in range(8)]
        texts = [source[start : start + 2000] for start in starts]
        ids = [torch.as_tensor(smollm2.prepare(text)["input_ids"])[:PIECE] for text in texts]
        found.append(torch.stack(ids))
    return torch.stack(found)


def _loss(network: Network, texts: Tensor) -> Tensor:
    """Mean surprise at each language's tokens."""
    with torch.no_grad():
        logits = network({"input_ids": texts.flatten(0, 1)}).logits[:, :-1]
    surprise = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), texts.flatten(0, 1)[:, 1:].flatten(), reduction="none"
    )
    return surprise.view(len(texts), -1).mean(1)


@pytest.mark.weights
@pytest.mark.slow
def test_a_language_suffers_most_without_its_own_neurons(
    smollm2: Network, pieces: Tensor, claim: Callable[..., None]
) -> None:
    train, test = pieces[:, :6], pieces[:, 6:]
    labels = torch.arange(4).repeat_interleave(6)
    found = language_neurons(smollm2, train.flatten(0, 1), labels)
    before = _loss(smollm2, test)
    measured: dict[str, float] = {}
    most, above_chance = [], []
    for label, language in enumerate(LANGUAGES):
        with edit(smollm2, found.off(label)):
            harm = _loss(smollm2, test) - before
        count = int(found.chosen[label].sum())
        random = torch.zeros(found.entropy.numel(), dtype=torch.bool)
        random[torch.randperm(len(random))[:count]] = True
        with edit(smollm2, switched_off(found.layers, random.view_as(found.entropy))):
            chance = (_loss(smollm2, test) - before)[label]
        others = harm[torch.arange(4) != label].mean()
        measured |= {
            f"{language}, its own": harm[label].item(),
            f"{language}, others": others.item(),
            f"{language}, random neurons": chance.item(),
        }
        most.append(bool(harm[label] > others))
        above_chance.append(bool(harm[label] > chance))
    for paper in ("P104", "P180"):
        claim(
            paper=paper,
            says="SmolLM2-135M: without its own neurons (LAPE, 1 % of all) a language's tokens "
            "grow more surprising than those of the other three on average, and than without as "
            "many random neurons, for at least 3 of English, Python, C++ and JavaScript",
            measured=measured,
            holds=sum(most) >= 3 and sum(above_chance) >= 3,
        )
    assert sum(above_chance) >= 3


@pytest.mark.weights
@pytest.mark.slow
def test_the_middle_of_a_language_model_is_near_to_english(
    smollm2: Network, pieces: Tensor, claim: Callable[..., None]
) -> None:
    labels = torch.arange(4).repeat_interleave(3)
    found = language_space(
        smollm2, pieces[:, :3].flatten(0, 1), labels, layers="re:.*[.](1?[05]|20|2[5-9])"
    )
    code = found.mass[:, 1:].mean(1)  # what is said while reading code
    late = torch.tensor([int(name.rsplit(".", 1)[1]) in (15, 20, 25) for name in found.layers])
    english = (code[late, 0] / found.tokens[0]).mean().item()
    others = (code[late, 1:] / found.tokens[1:]).mean().item()
    own = torch.stack([found.mass[-1, c, c] for c in range(1, 4)]).mean().item()
    measured = {"English": english, "programming": others, "own language, last layer": own}
    claim(
        paper="P180",
        says="SmolLM2-135M reading Python, C++ and JavaScript: at blocks 15, 20 and 25 of 30 a "
        "token that only the English texts use gets more probability than one that only one of the "
        "programming languages uses",
        measured=measured,
        holds=english > others,
    )
    assert found.mass.isfinite().all()
    assert (found.mass.sum(2) <= 1.001).all()
