"""Token norms and votes, against the formula by hand, and against chance on real texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import layerwise
from explained import batch, texts
from layerwise.errors import LayerwiseError
from layerwise.explain import Target, covered, erasure, gradients, norm_x_logit
from layerwise.explain._words import real, words
from layerwise.vocabulary import examples

Claim = Callable[..., None]


def test_equals_the_formula_by_hand() -> None:
    given = examples(norm_x_logit)
    network, ids, labels = given["language_model"], given["token_ids"], given["labels"]
    scores = norm_x_logit(network, ids, labels)
    with torch.no_grad():
        rows = network.module.get_input_embeddings()(ids)
        states = network.module.model(ids).last_hidden_state
        votes = states @ network.module.lm_head.weight[labels].unsqueeze(2)
    expected = rows.norm(dim=2, keepdim=True) * votes
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_an_earlier_layer_is_read_with_a_head_of_its_own() -> None:
    given = examples(norm_x_logit)
    network = given["language_model"]
    decoder = network.module
    target = Target("model.layers.0", head=lambda rows: decoder.lm_head(decoder.model.norm(rows)))
    scores = norm_x_logit(network, given["token_ids"], given["labels"], target=target)
    assert scores.shape == (36, 5, 1)
    assert not torch.allclose(scores, norm_x_logit(**given))


def test_mistakes_are_told() -> None:
    given = examples(norm_x_logit)
    network, ids, labels = given["language_model"], given["token_ids"], given["labels"]
    with pytest.raises(LayerwiseError, match="label 25 is out of range"):
        norm_x_logit(network, ids, labels + 25 - labels)
    pictures = layerwise.open(torch.nn.Conv2d(3, 4, 3), example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(LayerwiseError, match="no table of embeddings"):
        norm_x_logit(pictures, torch.rand(1, 3, 8, 8), torch.tensor([0]))


def test_without_and_alone_equal_covering_by_hand() -> None:
    network = layerwise.open(torch.nn.Linear(5, 3), example=torch.zeros(1, 5))
    inputs, labels = torch.rand(2, 5), torch.tensor([0, 2])
    heat = torch.rand(2, 5, 1)
    found = erasure(network, inputs, labels, heat, shares=(0.4,))
    for i in range(2):
        best = heat[i, :, 0].argsort(descending=True)[:2]
        keep = torch.ones(1, 5)
        keep[0, best] = 0
        p = [
            covered(network, inputs[i : i + 1], keep=k).softmax(1)[0, labels[i]]
            for k in (torch.ones(1, 5), keep, 1 - keep)
        ]
        torch.testing.assert_close(found.without[0, i], p[0] - p[1])
        torch.testing.assert_close(found.alone[0, i], p[0] - p[2])
    with pytest.raises(LayerwiseError, match="at most 1"):
        erasure(network, inputs, labels, heat, shares=(0.0,))


@pytest.mark.weights
def test_words_are_joined_from_tokens() -> None:
    network = texts()[0]
    ids = batch(network, ["Unbelievable tokenization, it's re-parsed."])["input_ids"][0]
    spelt = [word.text for word in words(network, ids)]
    assert spelt[:3] == ["unbelievable", "tokenization", ","]
    assert sum(len(word.tokens) for word in words(network, ids)) == len(ids) - 2


@pytest.mark.weights
def test_claim_one_forward_finds_the_words_that_count(claim: Claim) -> None:
    network, said, _, target = texts()
    inputs = batch(network, said[-80:])
    labels = target.read(network, inputs).argmax(1)
    among = real(network, inputs["input_ids"])

    def fall(heat: Tensor) -> float:
        found = erasure(network, inputs, labels, heat, target=target, shares=(0.2,), among=among)
        return float(found.comprehensiveness.mean())

    scores = norm_x_logit(network, inputs, labels, target=target)
    slopes = gradients(network, inputs, labels, layers="embeddings", target=target).slopes
    chance = [
        fall(torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)))
        for seed in range(3)
    ]
    own, norm = fall(scores), fall(slopes["embeddings"].norm(dim=2, keepdim=True))
    claim(
        paper="P025",
        says="Of 80 texts that MiniLM with a linear readout classifies, hiding the fifth of the "
        "tokens that NormXLogit ranks first lowers the predicted class's probability more than "
        "hiding random ones (each of 3 seeds) or those with the largest gradient.",
        measured={"fall": own, "fall, gradient norm": norm, "fall, random": max(chance)},
        holds=own > max(*chance, norm),
    )
    assert own > 3 * max(chance)
