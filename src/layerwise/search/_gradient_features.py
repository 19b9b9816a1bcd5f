"""FUNGI: frozen features joined with gradients of losses that need no label (P232).

For each sample alone, the gradient of a self-supervised loss for the weight and bias of one linear
layer is multiplied by a fixed random matrix of 1 and -1, down to the width of the embedding,
brought to length 1 and set beside the embedding of length 1; every loss gives such a block. Good
for nearest neighbours, clustering and linear readouts; nothing is trained.

The layer is by default the last linear one of the last attention, as in the paper. Its code's
contrastive loss takes the diagonal away as a row instead of leaving each view itself out; here it
is left out. The random matrix is drawn anew from its seed at each call: for a ViT-S it would weigh
220 MB. The paper's third loss, DINO's with random heads, is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.search._layer_gradient import Inputs, LayerGradient, layer_gradient, pooled
from layerwise.search._self_supervised import OwnPatches, Uniform
from layerwise.taps import read

_CHUNK = 2**24
"""Numbers of a random matrix held at a time."""


@final
@paper(
    "No Train, all Gain: Self-Supervised Gradients Improve Deep Frozen Representations",
    year=2024,
    arxiv="2407.10964",
    no=(232,),
)
class GradientFeatures(nn.Module):
    """Joins embeddings with projected gradients of label-free losses. Build it with `fit`.

    Args:
        layer: the linear layer whose gradients are taken.
        embedding: the layer that is pooled.
        losses: what gradients are taken of.
        seed: of the random matrix.
        heads: random weight and, as a last row, bias from the embedding to each loss's latent.
        negatives: latents of other samples, for each loss.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
        >>> network = layerwise.open(module, example=torch.zeros(1, 6))
        >>> inputs = torch.rand(3, 6)
        >>> features = GradientFeatures.fit(network, inputs)(network, inputs)
        >>> features.shape  # the embedding and as many numbers of the gradient
        torch.Size([3, 8])
    """

    seed: Int[Tensor, ""]

    def __init__(
        self,
        layer: str,
        embedding: str,
        losses: Sequence[Uniform | OwnPatches],
        *,
        seed: Int[Tensor, ""],
        heads: Sequence[Float[Tensor, "_ k"]],
        negatives: Sequence[Float[Tensor, "_ k"]],
    ) -> None:
        super().__init__()
        self.layer, self.embedding, self.losses = layer, embedding, tuple(losses)
        self.register_buffer("seed", seed)
        for i, (head, others) in enumerate(zip(heads, negatives, strict=True)):
            self.register_buffer(f"head{i}", head)
            self.register_buffer(f"negatives{i}", others)

    @classmethod
    def fit(
        cls,
        network: Network,
        inputs: Inputs,
        *,
        layer: str | None = None,
        embedding: str | None = None,
        losses: Sequence[Uniform | OwnPatches] = (Uniform(),),
        negatives: int = 64,
        generator: Generator | None = None,
    ) -> GradientFeatures:
        """Draw random heads and keep the latents of a few samples, which contrastive losses need.

        Args:
            network: any network with a linear layer.
            inputs: samples to draw the negatives from.
            layer: a linear layer; the last one of the last attention without it, or the last of
                all where there is no attention.
            embedding: what is pooled; the last block or final norm without it.
            losses: `Uniform` and `OwnPatches`, each in any setting.
            negatives: how many samples become negatives.
            generator: for heads, negatives and the random matrix.

        Raises:
            LayerwiseError: no samples, samples that are not finite, or no linear layer.
        """
        _require(inputs)
        network.take_example(inputs)
        if not losses:
            raise LayerwiseError("there are no losses to take gradients of; give one, as Uniform()")
        layer = layer or _last_linear(network)
        embedding = embedding or _embedding(network, layer)
        generator = generator or Generator().manual_seed(0)
        width = network.layers.find(embedding).width
        heads = [_head(width, loss.width, generator) for loss in losses]
        seed = torch.randint(2**60, (), generator=generator)
        banks = []
        for loss, head in zip(losses, heads, strict=True):
            if isinstance(loss, Uniform):  # its loss looks at nobody else
                banks.append(torch.zeros(0, loss.width))
                continue
            if not isinstance(inputs, Tensor):
                raise LayerwiseError("inputs by name cannot be cut into patches; use Uniform()")
            few = torch.randperm(len(inputs), generator=generator)[:negatives]
            views = loss.views(inputs[few.to(inputs.device)]).flatten(0, 1)
            found = network.layers.find(embedding)
            rows = pooled(found, read(network, views, embedding)[embedding])
            banks.append(_latents(rows, head))
        return cls(layer, embedding, losses, seed=seed, heads=heads, negatives=banks)

    def forward(self, network: Network, inputs: Inputs) -> Float[Tensor, "n w"]:
        """Embeddings and gradients, block by block of length 1.

        Args:
            network: the one that was fitted.
            inputs: a batch; as many as memory holds, since the random matrix is drawn once.

        Raises:
            LayerwiseError: no samples, or samples that are not finite.
        """
        _require(inputs)
        blocks: list[Tensor] = []
        for i, loss in enumerate(self.losses):
            gradient, embeddings = self._gradient(network, inputs, i, loss)
            blocks = blocks or [embeddings]
            blocks.append(_project(gradient, int(self.seed), blocks[0].shape[1]))
        return torch.cat([nn.functional.normalize(block, dim=1) for block in blocks], 1)

    def _gradient(
        self, network: Network, inputs: Inputs, i: int, loss: Uniform | OwnPatches
    ) -> tuple[LayerGradient, Tensor]:
        """A loss's gradient, all views of a sample in one row, and the samples' embeddings."""
        head, others = self.get_buffer(f"head{i}"), self.get_buffer(f"negatives{i}")
        views = loss.views(inputs) if isinstance(inputs, Tensor) else None
        count = 1 if views is None else views.shape[1]

        def value(embeddings: Tensor) -> Tensor:
            latents = _latents(embeddings, head).unflatten(0, (-1, count))
            return loss.loss(latents, others.to(embeddings))

        given = inputs if views is None else views.flatten(0, 1)
        found = layer_gradient(network, given, value, layer=self.layer, embedding=self.embedding)
        together = [x.unflatten(0, (-1, count)).flatten(1, 2) for x in (found.inward, found.slopes)]
        if count == 1:
            return LayerGradient(found.embeddings, *together), found.embeddings
        whole = read(network, inputs, self.embedding)[self.embedding]
        rows = pooled(network.layers.find(self.embedding), whole)
        return LayerGradient(rows, *together), rows


def _head(width: int, latent: int, generator: Generator) -> Float[Tensor, "_ k"]:
    """Weight and bias as torch's linear layers start: what the paper's code has.

    Latents of rows of length 1 are then small, the softmax is nearly uniform, and the gradient
    speaks of the whole latent instead of its largest entries (measured: larger heads do harm).
    """
    return (2 * torch.rand(width + 1, latent, generator=generator) - 1) / width**0.5


def _latents(embeddings: Float[Tensor, "n d"], head: Tensor) -> Float[Tensor, "n k"]:
    head = head.to(embeddings)
    return nn.functional.normalize(embeddings, dim=1) @ head[:-1] + head[-1]


def _project(gradient: LayerGradient, seed: int, width: int) -> Float[Tensor, "n w"]:
    """Multiply the gradients by random signs, a few of the layer's outputs at a time."""
    generator = Generator().manual_seed(seed)
    inward = gradient.inward
    total = inward.new_zeros(len(inward), width)
    for slopes in gradient.slopes.split(max(1, _CHUNK // (width * inward.shape[2])), dim=2):
        weights = (slopes.transpose(1, 2) @ inward).flatten(1)
        bits = torch.randint(2, (weights.shape[1], width), generator=generator, dtype=torch.int8)
        total += weights @ bits.to(weights).mul_(2).sub_(1)
    return total / (gradient.slopes.shape[2] * inward.shape[2]) ** 0.5


def _last_linear(network: Network) -> str:
    """The last linear layer of the last attention, else the last of all."""
    linear = [layer.name for layer in network.layers if layer.module == "Linear"]
    attention = [layer.name.split("[")[0] for layer in network.layers if layer.kind == "attention"]
    inside = [name for name in linear if attention and name.startswith(f"{attention[-1]}.")]
    if not linear:
        raise LayerwiseError(f"{network.name} has no linear layer to take gradients of")
    return (inside or linear)[-1]


def _embedding(network: Network, layer: str) -> str:
    """The last block or final norm, if it comes after the layer, else the last output of all."""
    usual = network.layers.select("blocks")[-1]
    last = network.layers[len(network.layers) - 1]
    return (usual if usual.position > network.layers.find(layer).position else last).name


def _require(inputs: Inputs) -> None:
    for value in inputs.values() if isinstance(inputs, Mapping) else [inputs]:
        if len(value) == 0:
            raise LayerwiseError("there are no samples; give at least one")
        require_finite(value, "inputs")
