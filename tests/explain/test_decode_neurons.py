"""Decoded neurons against matrices written out, planted tokens, and clamping."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain import decode_neurons
from layerwise.models import Network
from layerwise.taps import Clamp, edit
from layerwise.vocabulary import examples


@pytest.fixture
def small() -> Network:
    network: Network = examples(decode_neurons)["language_model"]
    return network


def _weight(network: Network, name: str) -> Tensor:
    return network.module.get_parameter(f"{name}.weight").detach()


def test_equals_the_product_written_out(small: Network) -> None:
    found = decode_neurons(small, keep=3)
    for row, layer in enumerate(found.layers):
        logits = _weight(small, layer) @ _weight(small, "lm_head").T
        order = logits.argsort(dim=1, descending=True)
        assert torch.equal(found.tokens[row], order[:, :3])
        torch.testing.assert_close(found.probability[row], logits.softmax(1).amax(1))
        first, second = logits.sort(dim=1, descending=True).values[:, :2].T
        torch.testing.assert_close(found.margin[row], (first - second) / logits.std(1))


def test_a_planted_token_is_found(small: Network) -> None:
    head = _weight(small, "lm_head")
    head[7] *= 5
    _weight(small, "model.layers.1.mlp.up_proj")[3] = head[7]
    neuron = decode_neurons(small).of(7)[0]
    assert (neuron.layer, neuron.unit) == ("model.layers.1.mlp.up_proj", 3)
    assert decode_neurons(small).agreement(decode_neurons(small)) == 1


def test_layers_that_do_not_read_the_stream_are_refused(small: Network) -> None:
    with pytest.raises(LayerwiseError, match="no linear map of the 8 channels"):
        decode_neurons(small, layers="re:.*down_proj")
    with pytest.raises(LayerwiseError, match="cannot be compared"):
        decode_neurons(small).agreement(decode_neurons(small, layers="model.layers.0.mlp.up_proj"))


_PROMPTS = (
    "The people of the town came together every year to",
    "When she opened the old wooden box she found a",
    "In the first part of the report we will describe the",
    "My favourite thing about the summer has always been the",
    "Scientists have known for many years that some kinds of",
    "He walked into the kitchen and asked whether there was any",
    "The most important question that we have to answer is",
    "Before you start to build the house, you should check",
)


@pytest.mark.weights
@pytest.mark.slow
def test_clamping_a_neuron_moves_its_token(smollm2: Network, claim: Callable[..., None]) -> None:
    layers = "re:model[.]layers[.](8|16|24)[.]mlp[.]up_proj"
    found = decode_neurons(smollm2, layers=layers)
    noisy = copy.copy(smollm2)
    noisy.module = copy.deepcopy(smollm2.module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in noisy.module.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.01 * weight.std() * noise)
    kept = decode_neurons(smollm2, layers=found.layers[1]).agreement(
        decode_neurons(noisy, layers=found.layers[1])
    )
    ids = [smollm2.prepare(text)["input_ids"][:9] for text in _PROMPTS]
    inputs = {"input_ids": torch.stack([torch.as_tensor(one) for one in ids])}

    @torch.no_grad()
    def held(layer: str, unit: int, level: float) -> Tensor:
        with edit(smollm2, {layer: Clamp(level, level, (unit,))}):
            return smollm2(inputs).logits[:, -1] - plain

    with torch.no_grad():
        plain = smollm2(inputs).logits[:, -1]
    special = found.margin.flatten().argsort(descending=True)[:10].tolist()
    own: list[float] = []
    others: list[float] = []
    for place in special:
        layer, unit = divmod(place, found.margin.shape[1])
        token = int(found.tokens[layer, unit, 0])
        name = found.layers[layer]
        changes = {level: held(name, unit, level)[:, token].abs() for level in (5.0, -5.0)}
        # The sign is chosen on the first three prompts, and tried on the others.
        level = max(changes, key=lambda level: float(changes[level][:3].mean()))
        own.append(changes[level][3:].mean().item())
        drawn = torch.randint(found.margin.shape[1], (3,), generator=generator).tolist()
        others += [held(name, other, level)[3:, token].abs().mean().item() for other in drawn]
    measured = {
        "its own token": sum(own) / len(own),
        "by a random neuron": sum(others) / len(others),
        "first tokens kept under noise": kept,
    }
    moves = measured["its own token"] > measured["by a random neuron"]
    claim(
        paper="P068",
        says="SmolLM2-135M: held at 5 or -5, the 10 neurons of largest margin in layers 8, 16 and "
        "24 change the logit of their token more on 5 unseen prompts than 3 random neurons of the "
        "layer do, and noise of 1 % on all weights leaves over 75 % of first tokens",
        measured=measured,
        holds=moves and kept > 0.75,
    )
    assert kept > 0.75
    assert moves
