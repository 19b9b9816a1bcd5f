"""Partial DER: a new top block for every step of classes, on lower layers that stay as they are.

P263 finds that incremental learners hardly improve their features after the first step, while those
that grow a whole network with every step (DER, dynamically expandable representation) do, at a
price. Here the lower layers are shared and frozen and only the top block is copied: each step
trains one more copy, the answers of all copies stand side by side, and one classifier reads them. A
copy is trained on its step and on a memory of earlier ones, by cross-entropy over all classes known
so far, and through a head of its own that tells the new classes apart and from all others.

What is given are the features beneath the block, so that lower layers run once. Ours: the memory is
herded (Rebuffi et al. 2017) by the class means of those features; the classifier is fitted to it
anew after each step, as large a part of it for old classes as for new ones; Adam trains the copies.
"""

from __future__ import annotations

import copy
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._herd import herd
from layerwise.search._labelled import require_labelled
from layerwise.search._logistic import Logistic

_BATCH = 64


@final
@paper(
    "On the Stability-Plasticity Dilemma of Class-Incremental Learning",
    year=2023,
    arxiv="2304.01663",
    no=(263,),
)
class PartialDER(nn.Module):
    """Classifies what a frozen layer gives, and learns new classes step by step. See `fit`.

    Args:
        branches: the copies of the block, one for each step, and the untrained one first.
        head: reads all trained copies.
        classes: the labels, in the order of the head's rows.
        memory: features of some samples of each class.
        remembered: their labels.
        each: samples that are remembered of a class.
        epochs: of each step.
        rate: of Adam.

    Example:
        >>> labels = torch.arange(40) % 2
        >>> noise = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        >>> first, second = noise + 9 * torch.eye(4)[labels], noise + 9 * torch.eye(4)[labels + 2]
        >>> learned = PartialDER.fit(first, labels, epochs=5).extend(second, labels + 2)
        >>> len(learned.branches), bool((learned.predict(second) == labels + 2).all())
        (3, True)
    """

    classes: Int[Tensor, " c"]
    memory: Float[Tensor, " m *d"]
    remembered: Int[Tensor, " m"]

    def __init__(
        self,
        branches: nn.ModuleList,
        head: nn.Linear,
        *,
        classes: Int[Tensor, " c"],
        memory: Float[Tensor, " m *d"],
        remembered: Int[Tensor, " m"],
        each: int = 20,
        epochs: int = 40,
        rate: float = 2e-3,
    ) -> None:
        super().__init__()
        self.branches = branches
        self.head = head
        self.register_buffer("classes", classes)
        self.register_buffer("memory", memory)
        self.register_buffer("remembered", remembered)
        self.each, self.epochs, self.rate = each, epochs, rate

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, " n *d"],
        labels: Int[Tensor, " n"],
        *,
        block: nn.Module | None = None,
        each: int = 20,
        epochs: int = 40,
        rate: float = 2e-3,
        generator: Generator | None = None,
    ) -> PartialDER:
        """Learn the first step.

        Args:
            features: what flows into the block, as `read` gives it of the layer before.
            labels: class of each sample.
            block: the network's top block; it answers with `[n k]`, or with maps `[n k h w]`, which
                are averaged. Without it, a linear layer and ReLU, as wide as the features. It is
                copied, and the given one stays as it is.
            each: samples of each class to remember.
            epochs: of each step.
            rate: of Adam.
            generator: for the order of samples.

        Raises:
            LayerwiseError: rows that do not match or are not finite, missing labels, fewer than
                two classes, none to be remembered.
        """
        require_labelled(features, labels)
        if len(labels.unique()) < 2 or each < 1:
            raise LayerwiseError(
                f"{len(labels.unique())} classes, {each} samples of each to be remembered; give at "
                "least two classes and remember at least one sample"
            )
        generator = generator or Generator().manual_seed(0)
        start = _hidden(features, generator) if block is None else copy.deepcopy(block)
        empty = cls(
            nn.ModuleList([start.requires_grad_(False).to(features).eval()]),
            nn.utils.skip_init(nn.Linear, 1, 1),
            classes=labels[:0],
            memory=features[:0].detach(),
            remembered=labels[:0],
            each=each,
            epochs=epochs,
            rate=rate,
        )
        return empty.extend(features, labels, generator=generator)

    def extend(
        self,
        features: Float[Tensor, " n *d"],
        labels: Int[Tensor, " n"],
        *,
        generator: Generator | None = None,
    ) -> PartialDER:
        """What has learned another step of classes besides. The copies there are do not change.

        Raises:
            LayerwiseError: as in `fit`; a class that is known already; another shape.
        """
        require_labelled(features, labels)
        new = labels.unique()
        known = sorted(set(new.tolist()) & set(self.classes.tolist()))
        if known or features.shape[1:] != self.memory.shape[1:]:
            raise LayerwiseError(
                f"a step of features {tuple(features.shape[1:])} with the known classes {known}; "
                f"give only new classes, in the shape {tuple(self.memory.shape[1:])} of the first"
            )
        classes = torch.cat([self.classes, new])
        rows = torch.cat([self.memory, features.detach()])
        told = torch.cat([self.remembered, labels])
        index = (told[:, None] == classes).long().argmax(1)
        branch = self._train(rows, index, len(new), generator or Generator().manual_seed(0))
        branches = nn.ModuleList([*self.branches, branch])
        kept = torch.cat([herd(rows, told == each, count=self.each) for each in classes])
        memory, remembered = rows[kept], told[kept]
        order = (remembered[:, None] == classes).long().argmax(1)
        head = Logistic.fit(_answers(branches[1:], memory), order, penalties=(1.0,)).linear(0)
        return PartialDER(
            branches,
            head.requires_grad_(False),
            classes=classes,
            memory=memory,
            remembered=remembered,
            each=self.each,
            epochs=self.epochs,
            rate=self.rate,
        )

    def forward(self, features: Float[Tensor, " m *d"]) -> Float[Tensor, "m c"]:
        """How much each class speaks for each sample.

        Raises:
            LayerwiseError: a row is not finite.
        """
        return self.head(self.represent(features))

    def represent(self, features: Float[Tensor, " m *d"]) -> Float[Tensor, "m k"]:
        """The answers of all trained copies, side by side."""
        require_finite(features)
        return _answers(self.branches[1:], features)

    def predict(self, features: Float[Tensor, " m *d"]) -> Int[Tensor, " m"]:
        """Label of the class that speaks loudest."""
        return self.classes[self(features).argmax(1)]

    def _train(self, rows: Tensor, index: Tensor, new: int, generator: Generator) -> nn.Module:
        """One more copy of the block, trained to tell all classes beside those there are."""
        branch = copy.deepcopy(self.branches[0]).requires_grad_(True).train()
        before = _answers(self.branches[1:], rows)
        with torch.no_grad():
            width = _pooled(copy.deepcopy(branch)(rows[:2])).shape[1]
        old = int(index.max()) + 1 - new
        joint = _linear(before.shape[1] + width, old + new, rows)
        own = _linear(width, new + 1, rows)
        own_index = (index - old + 1).clamp(min=0)  # 0 for all that is old
        parameters = [*branch.parameters(), *joint.parameters(), *own.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=self.rate)
        with torch.enable_grad():
            for _ in range(self.epochs):
                order = torch.randperm(len(rows), generator=generator).to(rows.device)
                for part in order.split(_BATCH):
                    if len(part) < 2 <= len(rows):  # batch normalisation needs two
                        continue
                    answer = _pooled(branch(rows[part]))
                    logits = joint(torch.cat([before[part], answer], 1))
                    loss = nn.functional.cross_entropy(logits, index[part])
                    loss = loss + nn.functional.cross_entropy(own(answer), own_index[part])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
        return branch.requires_grad_(False).eval()


def _answers(branches: nn.ModuleList, features: Tensor) -> Float[Tensor, "n k"]:
    with torch.no_grad():
        parts = [_pooled(branch(features)) for branch in branches]
    return torch.cat([features.new_zeros(len(features), 0), *parts], 1)


def _pooled(answer: Tensor) -> Float[Tensor, "n k"]:
    return answer.flatten(2).mean(2) if answer.ndim > 2 else answer


def _hidden(features: Tensor, generator: Generator) -> nn.Module:
    width = features.shape[1]
    layer = _linear(width, width, features)
    noise = torch.randn(width, width, generator=generator)
    layer.weight.data.copy_(noise * (2 / width) ** 0.5)
    return nn.Sequential(layer, nn.ReLU())


def _linear(inputs: int, outputs: int, like: Tensor) -> nn.Linear:
    """A layer of zeros, which the global random state does not feel."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=like.dtype, device=like.device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
