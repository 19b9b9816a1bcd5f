"""Heads of a language model beside the machines of their choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import attention_svm, head_svm
from layerwise.models import Network, randomised
from layerwise.taps import asking, attention
from layerwise.vocabulary import examples


def test_choices_and_their_share_are_those_of_the_attention_itself() -> None:
    given = examples(head_svm)
    network, token_ids = given["language_model"], given["token_ids"]
    for name in ("model.layers.0.self_attn", "model.layers.2.self_attn"):
        seen: list[Tensor] = []
        attention(
            network,
            {"input_ids": token_ids},
            lambda _, weights, seen=seen: seen.append(weights[:, :, -1]),
            layers=name,
        )
        found = head_svm(network, token_ids, layer=name)
        assert found.layer == f"{name}[0]"  # the first of what it gives
        torch.testing.assert_close(found.mass, seen[0].amax(2).mT.double(), rtol=1e-5, atol=1e-6)
        assert torch.equal(found.chosen, seen[0].argmax(2).mT)


def test_each_head_is_held_against_the_machine_of_its_own_keys_and_queries() -> None:
    given = examples(head_svm)
    found = head_svm(**given)
    seen = asking(given["language_model"], {"input_ids": given["token_ids"]}, found.layer)
    # Both heads of the example share one key.
    assert torch.equal(seen.keys[:, 0], seen.keys[:, 1])
    for head in range(2):
        keys, queries = seen.keys[:, head].double(), seen.queries[:, head, -1].double()
        scores = (keys @ queries[:, :, None])[..., 0]
        leads = scores.topk(2).values
        least = (leads[:, 0] - leads[:, 1]).min() / 2  # norm of the identity of 4 rows
        machine = attention_svm(keys, chosen=found.chosen[head], queries=queries)
        assert machine.feasible == found.feasible[head]
        if found.feasible[head]:
            reached = least / machine.margin(machine.weight)
            torch.testing.assert_close(found.reached[head], reached, rtol=1e-6, atol=1e-9)


def test_mistakes_are_named() -> None:
    given = examples(head_svm)
    network, token_ids = given["language_model"], given["token_ids"]
    with pytest.raises(LayerwiseError, match="texts of 1 tokens; give at least one text of two"):
        head_svm(network, token_ids[:, :1])
    with pytest.raises(LayerwiseError, match="'kind:attention' stands for 3 layers"):
        head_svm(network, token_ids, layer="kind:attention")
    with pytest.raises(LayerwiseError, match="does not call torch's fused attention"):
        head_svm(network, token_ids, layer="model.layers.1.mlp")


def _correlations(network: Network, token_ids: Tensor) -> Tensor:
    layers = [f"model.layers.{i}.self_attn" for i in (5, 20)]
    found = [head_svm(network, token_ids, layer=layer) for layer in layers]
    assert all(bool(each.feasible.all()) for each in found)
    return torch.stack([each.correlation.mean() for each in found])


@pytest.mark.weights
@pytest.mark.slow
def test_trained_heads_lie_nearer_to_their_machines_than_untrained_ones(
    smollm2: Any, prose: Tensor, claim: Callable[..., None]
) -> None:
    untrained = randomised(smollm2, seed=0)
    trained, random = torch.zeros(3), torch.zeros(3)
    for draw in range(3):
        token_ids = prose[6 * draw : 6 * draw + 6, :12]
        trained[draw] = _correlations(smollm2, token_ids).mean()
        random[draw] = _correlations(untrained, token_ids).mean()
    claim(
        paper="P039",
        says="The heads of 2 blocks of SmolLM2-135M correlate more with the Frobenius SVM of the "
        "tokens that they select than those of the same network without training, 3 draws of 6 "
        "texts",
        measured={"trained": trained.mean(), "untrained": random.mean()},
        holds=bool((trained > random).all()),
    )
    assert trained.min() > 0
    assert random.min() > 0
