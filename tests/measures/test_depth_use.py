"""Depth use against sums and skips written out with a network's own modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jaxtyping
import pytest
import torch
import transformers
from torch import Tensor

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import DepthUse, Skipped, answer_depth, depth_use
from layerwise.models import Network
from layerwise.vocabulary import examples


@pytest.fixture(scope="module")
def given() -> Mapping[str, Any]:
    found = examples(depth_use)
    return {**found, "token_ids": found["token_ids"][:4]}


@pytest.fixture(scope="module")
def use(given: Mapping[str, Any]) -> DepthUse:
    return depth_use(**given)


def _streams(network: Network, ids: Tensor) -> list[Tensor]:
    """The stream before each block and after the last, before the final norm."""
    found: list[Tensor] = []
    blocks = network.module.model.layers
    hooks = [
        block.register_forward_pre_hook(lambda _, args: found.append(args[0])) for block in blocks
    ]
    hooks.append(blocks[-1].register_forward_hook(lambda _, __, out: found.append(out)))
    with torch.no_grad():
        network.module(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return found


def test_contributions_are_differences_of_hidden_states(
    given: Mapping[str, Any], use: DepthUse
) -> None:
    network, ids = given["language_model"], given["token_ids"]
    streams = _streams(network, ids)
    hidden = network.module(input_ids=ids, output_hidden_states=True).hidden_states
    for stream, state in zip(streams[:-1], hidden[:-1], strict=True):
        torch.testing.assert_close(stream, state.detach())
    for i, (before, after) in enumerate(pairwise(streams)):
        added = after - before
        ratio = (added.norm(dim=2) / before.norm(dim=2)).mean(1)
        torch.testing.assert_close(use.whole[:, i], ratio, rtol=1e-4, atol=1e-5)
        cosine = torch.cosine_similarity(added, before, dim=2).mean(1)
        torch.testing.assert_close(use.whole_cosine[:, i], cosine, rtol=1e-4, atol=1e-4)
    block = network.module.model.layers[1]
    with torch.no_grad():
        rotary = network.module.model.rotary_emb(streams[1], torch.arange(5)[None])
        attention = block.self_attn(
            block.input_layernorm(streams[1]), position_embeddings=rotary, attention_mask=None
        )[0]
        middle = streams[1] + attention
        mlp = block.mlp(block.post_attention_layernorm(middle))
    expected = (attention.norm(dim=2) / streams[1].norm(dim=2)).mean(1)
    torch.testing.assert_close(use.attention[:, 1], expected, rtol=1e-4, atol=1e-5)
    expected = (mlp.norm(dim=2) / middle.norm(dim=2)).mean(1)
    torch.testing.assert_close(use.mlp[:, 1], expected, rtol=1e-4, atol=1e-5)


def test_skips_are_those_of_a_network_without_the_block(
    given: Mapping[str, Any], use: DepthUse
) -> None:
    network, ids = given["language_model"], given["token_ids"]
    streams = _streams(network, ids)
    added = [b - a for a, b in pairwise(streams)]
    truth = network.module(input_ids=ids).logits.detach().softmax(-1)
    module = network.module
    whole = module.model.layers
    without = torch.nn.ModuleList([whole[0], whole[2]])
    module.model.layers, module.config.num_hidden_layers = without, 2
    module.config.use_cache = False
    try:
        shorter = _streams(network, ids)
        said = module(input_ids=ids).logits.detach().softmax(-1)
    finally:
        module.model.layers, module.config.num_hidden_layers = whole, 3
    change = shorter[2] - shorter[1] - added[2]
    expected = (change.norm(dim=2) / added[2].norm(dim=2)).amax(1)
    torch.testing.assert_close(use.skipped.later[:, 1, 2], expected, rtol=1e-3, atol=1e-4)
    expected = (said - truth).norm(dim=2).amax(1)
    torch.testing.assert_close(use.skipped.output[:, 1], expected, rtol=1e-3, atol=1e-4)


def test_the_past_does_not_reach_the_future_through_the_last_block(use: DepthUse) -> None:
    assert use.future.output[:, -1].max() < 1e-5
    assert bool((use.future.output[:, 0] > 0).all())
    assert bool((use.skipped.output > 0).all())
    assert bool((use.future.later.tril() == 0).all())


def test_padding_changes_nothing(given: Mapping[str, Any]) -> None:
    network, ids = given["language_model"], given["token_ids"]
    short = depth_use(network, ids[:, :4], split=0.5)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 4:] = False
    padded = depth_use(network, ids.masked_fill(~mask, 3), mask=mask, split=0.4)
    for name in ("attention", "whole_cosine", "divergence", "overlap"):
        torch.testing.assert_close(
            getattr(padded, name), getattr(short, name), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(padded.skipped.later, short.skipped.later, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(padded.future.output, short.future.output, rtol=1e-3, atol=1e-4)


def test_effective_depth_is_where_half_of_the_most_is_last_reached() -> None:
    later = torch.zeros(2, 4, 4)
    later[:, 0, 1:], later[:, 1, 2:], later[:, 2, 3] = 2.0, 1.5, 0.9
    skipped = Skipped(later, torch.zeros(2, 4))
    empty = torch.zeros(2, 4)
    use = DepthUse(("a", "b", "c", "d"), *6 * [empty], skipped, skipped, empty, empty)
    assert use.effect.tolist() == pytest.approx([2.0, 1.5, 0.9, 0.0])
    assert use.effective_depth == 2


def test_mistakes_are_named(given: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    network, ids = given["language_model"], given["token_ids"]
    with pytest.raises(LayerwiseError, match="hold too little"):
        depth_use(network, ids[:, :1])
    with pytest.raises(LayerwiseError, match="pad on the right"):
        depth_use(network, ids, mask=torch.zeros_like(ids, dtype=torch.bool))
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=1,
        num_hidden_layers=2,
        is_decoder=True,
    )
    encoder = transformers.BertLMHeadModel(config).eval()
    with pytest.raises(LayerwiseError, match="do more than add"):
        depth_use(layerwise.open(encoder, example={"input_ids": ids[:1]}), ids)


def test_parts_of_an_answer_add_up_to_its_logit(given: Mapping[str, Any]) -> None:
    network, ids = given["language_model"], given["token_ids"]
    answers = torch.tensor([3, 7, 7, 0])
    found = answer_depth(network, ids, answers, steps=200)
    streams = _streams(network, ids)
    logits = [
        network.module.lm_head(network.module.model.norm(streams[i][:, -1])).detach()
        for i in (-1, 0)
    ]
    gained = (logits[0] - logits[1]).gather(1, answers[:, None])[:, 0]
    torch.testing.assert_close(found.gained, gained, rtol=1e-4, atol=1e-5)
    parts = (found.attention + found.mlp).sum(1)
    torch.testing.assert_close(parts, gained, rtol=1e-3, atol=1e-3)
    assert bool(((found.score >= 1) & (found.score <= 3)).all())
    assert all(p.grad is None for p in network.module.parameters())


def test_an_answer_written_by_one_block_has_its_depth() -> None:
    network = examples(depth_use)["language_model"]
    with torch.no_grad():
        for i in (0, 2):
            network.module.model.layers[i].self_attn.o_proj.weight.zero_()
            network.module.model.layers[i].mlp.down_proj.weight.zero_()
    found = answer_depth(network, torch.tensor([[1, 2, 3]]), torch.tensor([4]))
    assert found.score.item() == pytest.approx(2)
    with pytest.raises(LayerwiseError, match="answers must be tokens from 0 to 19"):
        answer_depth(network, torch.tensor([[1, 2, 3]]), torch.tensor([20]))


@pytest.mark.weights
@pytest.mark.slow
def test_where_longer_sums_are_answered(smollm2: Network, claim: Callable[..., None]) -> None:
    def score(addends: int, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        scores = []
        for _ in range(4):
            drawn = torch.randint(1, 3, (3, addends), generator=generator).tolist()
            lines = [" + ".join(map(str, row)) + f" = {sum(row)}" for row in drawn]
            ids = smollm2.prepare("\n".join(lines))["input_ids"]
            scores.append(answer_depth(smollm2, ids[None, :-1], ids[-1:], steps=8).score)
        return torch.cat(scores).mean().item()

    two, four = ([score(addends, seed) for seed in range(3)] for addends in (2, 4))
    holds = all(b < a + 1 for a, b in zip(two, four, strict=True))
    claim(
        paper="P155",
        says="The sum of four numbers is not written deeper in SmolLM2-135M than that of two: the "
        "mean depth of what writes its logit is less than one block of 30 larger, 3 draws of 4",
        measured={"two addends": sum(two) / 3, "four addends": sum(four) / 3},
        holds=holds,
    )
    # It is written some two blocks deeper; both are written in the second half of the network.
    assert min(*two, *four) > 15


@pytest.mark.weights
@pytest.mark.slow
def test_late_blocks_are_needed_less(
    smollm2: Network, prose: Tensor, claim: Callable[..., None]
) -> None:
    use = depth_use(smollm2, prose[[3, 27, 51], :20])
    counts = torch.arange(29, -1, -1).clamp(min=1)
    effect = use.skipped.later.sum(2) / counts  # of each text and block, on its later blocks
    early, late = effect[:, 2:15].mean(1), effect[:, 16:29].mean(1)
    holds = bool((late < early).all())
    claim(
        paper="P155",
        says="Skipping a block of SmolLM2-135M changes what later blocks add less for blocks 16 "
        "to 28 than for blocks 2 to 14, in each of 3 texts (length of the change over that of "
        "what was added, the most over tokens, mean over blocks)",
        measured={"blocks 2 to 14": early.mean().item(), "blocks 16 to 28": late.mean().item()},
        holds=holds,
    )
    assert holds
    future = use.effect
    assert future[16:29].mean() < future[2:15].mean()
    assert 0 < use.effective_depth < 30
