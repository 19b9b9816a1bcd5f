"""AnoVL: local tokens by value-wise attention, defects by normal and anomalous prototypes (P037).

In the last blocks of a vision transformer a second path runs beside the first: queries and keys are
replaced by the values, `softmax(V V' / sqrt(d)) V W_o`, and the results are added up on a residual
of its own without the MLPs. The path itself stays as it was. A place then attends to places that
hold the same, and its token stays local. A token is scored by the softmax over its cosines to the
normal and the anomalous prototype, at temperature 0.01. Ours: without a text encoder the prototypes
are means of clean and of corrupted patches, and the adapter of the test-time step is trained on
these by cross-entropy (the paper's loss is not known to us in detail).
"""

from __future__ import annotations

import re
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.models._hooks import at_rest
from layerwise.search._labelled import require_labelled
from layerwise.taps import tap

_NOISE = 0.055


@final
@paper(
    "AnoVL: Adapting Vision-Language Models for Unified Zero-shot Anomaly Localization",
    year=2023,
    arxiv="2308.15939",
    no=(37,),
)
class ValueAttentionAnomaly(nn.Module):
    """Scores places by a normal and an anomalous prototype. Build it with `fit`.

    Args:
        states: unit vectors of both states, one or more of each.
        anomalous: 1 for the anomalous ones, else 0.
        temperature: of the softmax.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> anomaly = ValueAttentionAnomaly.fit(features, torch.tensor([0, 1]))
        >>> anomaly(torch.tensor([[[0.9, 0.2], [0.1, 0.8]]])).round().tolist()
        [[0.0, 1.0]]
    """

    states: Float[Tensor, "s d"]
    anomalous: Int[Tensor, " s"]

    def __init__(
        self,
        states: Float[Tensor, "s d"],
        anomalous: Int[Tensor, " s"],
        *,
        temperature: float = 0.01,
    ) -> None:
        super().__init__()
        self.register_buffer("states", states)
        self.register_buffer("anomalous", anomalous)
        self.temperature = temperature

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        temperature: float = 0.01,
    ) -> ValueAttentionAnomaly:
        """Average both states.

        Args:
            features: of patches, or of sentences that describe the states.
            labels: 0 for normal; everything else is anomalous, each label a state of its own.
            temperature: of the softmax.

        Raises:
            LayerwiseError: no rows of one of the states, or rows that are not finite.
        """
        require_labelled(features, labels)
        classes = labels.unique()
        if 0 not in classes.tolist() or len(classes) < 2:
            raise LayerwiseError(
                f"the labels are {classes.tolist()}; give normal rows as 0 and anomalous ones as 1"
            )
        unit = nn.functional.normalize(features, dim=1)
        states = torch.stack([unit[labels == each].mean(0) for each in classes])
        return cls(
            nn.functional.normalize(states, dim=1),
            (classes > 0).long(),
            temperature=temperature,
        )

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t"]:
        """How anomalous each place is, from 0 to 1.

        Args:
            tokens: local tokens, as from `value_tokens`.

        Raises:
            LayerwiseError: a token is not finite.
        """
        require_finite(tokens, "tokens")
        cosines = nn.functional.normalize(tokens, dim=2) @ self.states.T
        return _states(cosines / self.temperature, self.anomalous)[..., 1].exp()

    def adapt(
        self,
        tokens: Float[Tensor, "n t d"],
        *,
        steps: int = 5,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n t"]:
        """Scores after a few steps of test-time adaptation, for each picture by itself.

        `x' = 0.5 x + 0.5 tanh(W x / ||x||) E` with the states `E`; `W` learns to keep the first
        scores of the clean tokens, and to call tokens with noise anomalous.

        Args:
            tokens: local tokens.
            steps: of the optimiser.
            rate: its step size.
            generator: for the noise; without it, one of seed 0.

        Raises:
            LayerwiseError: a token is not finite.
        """
        first = self(tokens)
        generator = generator or torch.Generator().manual_seed(0)
        scores = [
            self._adapted(unit, pseudo, steps, rate, generator)
            for unit, pseudo in zip(nn.functional.normalize(tokens, dim=2), first, strict=True)
        ]
        return torch.stack(scores) if scores else first

    @torch.enable_grad()
    def _adapted(
        self, unit: Tensor, pseudo: Tensor, steps: int, rate: float, generator: torch.Generator
    ) -> Tensor:
        unit = unit.detach()
        weight = torch.zeros(unit.shape[1], len(self.states)).to(unit).requires_grad_()
        optimiser = torch.optim.Adam([weight], lr=rate)

        def scores(rows: Tensor) -> Tensor:
            moved = 0.5 * rows + 0.5 * (rows @ weight).tanh() @ self.states
            cosines = nn.functional.normalize(moved, dim=1) @ self.states.T
            return _states(cosines / self.temperature, self.anomalous)

        for _ in range(steps):
            noise = torch.randn(unit.shape, generator=generator).to(unit)
            clean, noisy = (
                scores(unit),
                scores(nn.functional.normalize(unit + _NOISE * noise, dim=1)),
            )
            kept = -(pseudo * clean[:, 1] + (1 - pseudo) * clean[:, 0]).mean()
            optimiser.zero_grad()
            (kept - noisy[:, 1].mean()).backward()
            optimiser.step()
        return scores(unit)[:, 1].exp().detach()


def value_attention(tokens: Float[Tensor, "n t d"], *, heads: int = 1) -> Float[Tensor, "n h t t"]:
    """How much each place attends to each by what the two hold.

    Args:
        tokens: values of one block, heads side by side.
        heads: how many there are.

    Raises:
        LayerwiseError: the width is no multiple of the heads.

    Example:
        >>> value_attention(torch.eye(3)[None] * 9, heads=1)[0, 0].argmax(1).tolist()
        [0, 1, 2]
    """
    if heads < 1 or tokens.shape[2] % heads:
        raise LayerwiseError(f"{tokens.shape[2]} numbers do not divide into {heads} heads")
    require_finite(tokens, "tokens")
    split = tokens.unflatten(2, (heads, -1)).transpose(1, 2)
    return (split @ split.transpose(2, 3) / split.shape[3] ** 0.5).softmax(3)


def value_tokens(
    transformer: Network, pixels: Tensor, *, blocks: int = 4
) -> Float[Tensor, "n t d"]:
    """Local tokens of pictures: the value-wise path through the last blocks, after the final norm.

    Args:
        transformer: a vision transformer of transformers (with `v_proj`) or timm (with `qkv`).
        pixels: pictures, as the network takes them.
        blocks: how many of the last blocks the path runs beside.

    Raises:
        LayerwiseError: the network has no such attention.
    """
    module = transformer.module
    modules = dict(module.named_modules())
    names = [name for name in modules if re.search(r"(attention|attn)\.(v_proj|qkv)$", name)]
    last = [layer for layer in transformer.layers if layer.kind == "final"]
    if not names or not last:
        raise LayerwiseError(
            f"{transformer.name} has no attention whose values can be read; give a vision "
            "transformer such as dinov2-small"
        )
    chosen = names[-blocks:]
    owner = {name: name.rsplit(".", 1)[0] for name in chosen}
    block = owner[chosen[0]].rsplit(".", 1)[0]
    block = block if f"{block}.norm1" in modules else block.rsplit(".", 1)[0]
    start = transformer.layers.entry(transformer.layers[block]).name
    seen: dict[str, Tensor] = {}
    with (
        at_rest(module),
        tap(transformer, [start, *chosen], lambda layer, value: seen.update({layer.name: value})),
    ):
        transformer(pixels)
        local = seen[start]
        for name in chosen:
            attention = modules[owner[name]]
            out = modules.get(f"{owner[name]}.o_proj") or modules[f"{owner[name]}.proj"]
            values = seen[name]
            values = values.chunk(3, 2)[2] if name.endswith("qkv") else values
            heads = next(
                int(getattr(attention, word))
                for word in ("num_heads", "num_attention_heads")
                if word in vars(attention)
            )
            mixed = value_attention(values, heads=heads) @ values.unflatten(
                2, (heads, -1)
            ).transpose(1, 2)
            local = local + _scaled(modules, owner[name], out(mixed.transpose(1, 2).flatten(2)))
        tokens = modules[last[-1].name](local)
    return tokens[:, last[-1].sure.prefix :]


def _scaled(modules: dict[str, nn.Module], attention: str, value: Tensor) -> Tensor:
    """What the block does to its attention before it is added."""
    block = attention.rsplit(".", 1)[0]
    for name in (f"{block}.layer_scale1", f"{block}.ls1"):
        if name in modules:
            return modules[name](value)
    return value


def _states(logits: Float[Tensor, "*b s"], anomalous: Int[Tensor, " s"]) -> Float[Tensor, "*b 2"]:
    """Log probability of normal and of anomalous, each the sum over its states."""
    logs = logits.log_softmax(-1)
    parts = [logs[..., anomalous == state].logsumexp(-1) for state in (0, 1)]
    return torch.stack(parts, -1)
