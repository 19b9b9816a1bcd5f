"""How well does a network do after a fixed budget of fine-tuning, from this checkpoint on?

P138 compares checkpoints of one training by two scores: frozen features (`spectral_learning_order`)
and fine-tuning for a fixed budget, which need not prefer the same checkpoint. Here a new linear
classifier is put on a layer, and both are trained by stochastic gradient descent for so many steps.
Ours: samples are dealt to `folds`, each answered by a network that was tuned on all the others, so
that every sample counts and checkpoints are compared in pairs (`bootstrap_mean(right, other=...)`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Mean
from layerwise.measures._bootstrap import Interval, bootstrap_mean
from layerwise.models import Layer, Network
from layerwise.models._seeded import seeded
from layerwise.search._labelled import require_labelled
from layerwise.taps import cut

_ANSWERED = 256


@final
@dataclass(frozen=True)
class FineTuned:
    """Answers of networks that were fine-tuned without the sample.

    Args:
        right: 1 for each sample whose class was named, else 0.
        accuracy: their mean, with its 95 % interval over the samples.
    """

    right: Float[Tensor, " n"]
    accuracy: Interval


@paper(
    "Towards Inadequately Pre-trained Models in Transfer Learning",
    year=2022,
    arxiv="2203.04668",
    no=(138,),
)
def fine_tuned(
    network: Network,
    inputs: Tensor | Mapping[str, Tensor],
    labels: Int[Tensor, " n"],
    *,
    layer: str = "100%",
    steps: int = 100,
    rate: float = 0.01,
    batch: int = 32,
    folds: int = 2,
    generator: Generator | None = None,
) -> FineTuned:
    """Fine-tune copies of a network, one for each fold; the network itself stays as it is.

    Args:
        network: one checkpoint.
        inputs: samples of the task that it is to serve.
        labels: class of each.
        layer: an address, or a pattern that picks one; its mean over places is classified.
        steps: of stochastic gradient descent with momentum 0.9.
        rate: of learning, falling to 0 along a cosine.
        batch: samples of a step.
        folds: parts of the samples; each is answered by what was tuned on the others.
        generator: for folds, batches and dropout; without it, one of seed 0.

    Raises:
        LayerwiseError: one class only, missing labels, fewer samples of a class than folds, a
            budget of nothing, no such layer or several, NaN.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = fine_tuned(**examples(fine_tuned), layer="1", steps=4)
        >>> found.right.shape, bool(found.accuracy.low <= found.right.mean())
        (torch.Size([36]), True)
    """
    given = inputs if isinstance(inputs, Mapping) else {"": inputs}
    first = next(iter(given.values()))
    require_labelled(first if first.is_floating_point() else first.float(), labels)
    classes, index, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2 or not 2 <= folds <= int(counts.min()) or min(steps, batch - 1) < 1:
        raise LayerwiseError(
            f"{len(classes)} classes, {int(counts.min())} samples of the smallest, folds={folds}, "
            f"steps={steps}, batch={batch}; give at least 2 classes, 2 folds, as many samples of "
            "each class, 1 step and a batch of 2"
        )
    network.take_example(inputs)
    chosen = network.layers.select(layer)
    if len(chosen) != 1:
        raise LayerwiseError(f"layer={layer!r} picks {len(chosen)} layers; give one")
    generator = generator or Generator().manual_seed(0)
    whole = cut(network, chosen[0].name).module
    order = torch.randperm(len(labels), generator=generator)
    dealt = torch.empty_like(order)
    dealt[order[index.cpu()[order].argsort(stable=True)]] = torch.arange(len(order)) % folds
    dtype = first.dtype if first.is_floating_point() else torch.float32
    right = torch.zeros(len(labels), dtype=dtype)
    for fold in range(folds):
        rows, held = ((dealt != fold).nonzero().flatten(), (dealt == fold).nonzero().flatten())
        seed = int(torch.randint(2**31, (), generator=generator))
        with seeded(seed), torch.enable_grad():
            tuned = _Tuned(copy.deepcopy(whole), chosen[0], len(classes), first).train()
            optimiser = torch.optim.SGD(tuned.parameters(), lr=rate, momentum=0.9)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
            for _ in range(steps):
                drawn = rows[torch.randperm(len(rows), generator=generator)[:batch]]
                loss = nn.functional.cross_entropy(tuned(_at(given, drawn)), index[drawn])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        tuned.eval()
        with torch.no_grad():
            for part in held.split(_ANSWERED):
                answers = tuned(_at(given, part)).argmax(1)
                right[part] = (answers == index[part]).to(right)
    return FineTuned(right, bootstrap_mean(right))


@final
class _Tuned(nn.Module):
    """A network up to one layer, and a linear classifier of zeros on its mean."""

    def __init__(self, body: nn.Module, layer: Layer, classes: int, like: Tensor) -> None:
        super().__init__()
        self.body = body.requires_grad_(True)
        self.layer = layer
        known = next(iter(body.parameters()), like)
        self.head = nn.Linear(layer.width, classes, device=known.device, dtype=known.dtype)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Float[Tensor, "n c"]:
        values = self.body(inputs)[self.layer.name]
        layout = self.layer.sure
        places = layout.tokens(values)[:, layout.prefix :]
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        fits = mask is not None and mask.shape == places.shape[:2]
        return self.head(Mean()(places, mask.bool() if fits and mask is not None else None))


def _at(given: Mapping[str, Tensor], rows: Tensor) -> Tensor | dict[str, Tensor]:
    return given[""][rows] if "" in given else {name: value[rows] for name, value in given.items()}
