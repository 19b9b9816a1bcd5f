"""The layer over two tokens, against attention written out and what no token tells alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from layerwise.errors import LayerwiseError
from layerwise.explain import GlobalLocalClassifier


def test_it_is_attention_between_two_tokens() -> None:
    features, labels = torch.randn(12, 16, dtype=torch.float64), torch.arange(12) % 3
    model = GlobalLocalClassifier.fit(features, labels, epochs=2)
    tokens = ((features - features.mean(0)) / features.std(0, correction=0)).view(12, 2, 8)
    layer = model.layer

    def normed(values: Tensor, by: torch.nn.LayerNorm) -> Tensor:
        return functional.layer_norm(values, (8,), by.weight, by.bias)

    within = normed(tokens, layer.norm1) @ layer.self_attn.in_proj_weight.T
    query, key, value = (within + layer.self_attn.in_proj_bias).chunk(3, dim=2)
    looked = (query @ key.transpose(1, 2) / 8**0.5).softmax(2) @ value
    tokens = tokens + layer.self_attn.out_proj(looked)
    inner = functional.gelu(layer.linear1(normed(tokens, layer.norm2)))
    tokens = tokens + layer.linear2(inner)
    torch.testing.assert_close(model(features), model.readout(normed(tokens[:, 0], model.norm)))


def _agreeing(seed: int) -> tuple[Tensor, Tensor]:
    """Whole and crop each show one of two things; the class is whether it is the same number."""
    generator = torch.Generator().manual_seed(seed)
    things = torch.randn(2, 2, 16, generator=generator)
    shown = torch.randint(2, (400, 2), generator=generator)
    tokens = torch.cat([things[0][shown[:, 0]], things[1][shown[:, 1]]], dim=1)
    noise = 0.3 * torch.randn(tokens.shape, generator=generator)
    return tokens + noise, (shown[:, 0] == shown[:, 1]).long()


def test_it_tells_what_neither_token_tells_alone(claim: Callable[..., None]) -> None:
    measured: dict[str, float] = {}
    for seed in range(3):
        features, labels = _agreeing(seed)
        train, test = slice(200), slice(200, None)
        model = GlobalLocalClassifier.fit(
            features[train],
            labels[train],
            epochs=20,
            rate=3e-3,
            generator=torch.Generator().manual_seed(seed),
        )
        linear = LogisticRegression().fit(features[train].numpy(), labels[train].numpy())
        found = (model(features[test]).argmax(1) == labels[test]).float().mean().item()
        measured[f"trained layer, seed {seed}"] = found
        measured[f"linear readout, seed {seed}"] = linear.score(
            features[test].numpy(), labels[test].numpy()
        )
    better = all(
        measured[f"trained layer, seed {s}"] > 0.9 and measured[f"linear readout, seed {s}"] < 0.65
        for s in range(3)
    )
    claim(
        paper="P163",
        says="Made-up tokens of whole and crop, each one of two things with noise: the trained "
        "layer over both tells on unseen samples whether they agree with accuracy over 0.9, a "
        "linear readout of both tokens with under 0.65, 3 draws",
        measured=measured,
        holds=better,
    )
    assert better


def test_rows_that_are_no_two_tokens_are_refused() -> None:
    with pytest.raises(LayerwiseError, match="4 rows of 5 numbers"):
        GlobalLocalClassifier.fit(torch.rand(4, 5), torch.arange(4))
    with pytest.raises(LayerwiseError, match="NaN or infinity"):
        GlobalLocalClassifier.fit(torch.full((4, 6), torch.nan), torch.arange(4))
    one = GlobalLocalClassifier.fit(torch.rand(1, 6), torch.zeros(1, dtype=torch.int64), epochs=1)
    assert one(torch.rand(2, 6)).isfinite().all()
