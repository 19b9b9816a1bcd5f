"""One-shot prototypes that look at known classes (P114).

The prototype of a new class from one picture is poor. So the places of its feature map attend to
the places of the nearest `neighbours` pictures of known (base) classes, and take from them:
`s' = s + W_o attention(W_q s, W_k b, W_v b)`; the prototype is the mean of the shots' pooled
maps, and a query belongs to the nearest. The attention is trained on episodes made of base classes,
whose own pictures are then left out of the neighbours. The encoder stays frozen.

Ours: there is no layer norm, and `W_o` starts at zero, so that without neighbours or training the
prototype is the plain one exactly and queries need no norm either; projections start as the
identity. The paper's auxiliary loss over two augmented views needs pictures and is not here.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._dense import rows
from layerwise.search._labelled import require_labelled
from layerwise.search._neighbours import Neighbours


@final
@paper(
    "BaseTransformers: Attention over base data-points for One Shot Learning",
    year=2022,
    arxiv="2210.02476",
    no=(114,),
)
class BaseTransformer(nn.Module):
    """Classifies new classes from one or a few maps of each. Build it with `fit`.

    Args:
        base: maps of the base classes, by place.
        scale: mean squared distance of pooled base maps to their mean; logits are in units of it.
        attention: from places of a map to those of its neighbours.
        neighbours: how many base pictures are attended to.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels = torch.arange(40) % 4
        >>> maps = 3 * torch.eye(4, 6)[labels].view(40, 6, 1, 1) + torch.rand(
        ...     40, 6, 2, 2, generator=generator)
        >>> few = BaseTransformer.fit(maps, labels, episodes=5)
        >>> few(maps[:4], labels[:4], maps.mean((2, 3))).argmax(1).equal(labels)
        True
    """

    base: Float[Tensor, "n t d"]
    scale: Float[Tensor, ""]

    def __init__(
        self,
        base: Float[Tensor, "n t d"],
        scale: Float[Tensor, ""],
        attention: nn.MultiheadAttention,
        *,
        neighbours: int = 20,
    ) -> None:
        super().__init__()
        self.register_buffer("base", base)
        self.register_buffer("scale", scale)
        self.attention = attention
        self.neighbours = neighbours

    @classmethod
    def fit(
        cls,
        feature_map: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        *,
        neighbours: int = 20,
        heads: int = 1,
        ways: int = 5,
        shots: int = 1,
        asked: int = 15,
        episodes: int = 200,
        rate: float = 1e-3,
        generator: Generator | None = None,
    ) -> BaseTransformer:
        """Train on episodes of base classes.

        Args:
            feature_map: maps of pictures of base classes.
            labels: their classes.
            neighbours: how many base pictures are attended to.
            heads: of the attention; they divide the channels.
            ways: classes of an episode; at least one base class is left for the neighbours.
            shots: pictures of each class that make its prototype.
            asked: pictures of each class that are classified.
            episodes: training steps; 0 leaves the plain prototypes.
            rate: of Adam.
            generator: for the episodes.

        Raises:
            LayerwiseError: maps that do not match or are not finite, missing labels, fewer than
                three classes, or heads that do not divide the channels.
        """
        require_labelled(feature_map, labels)
        width = feature_map.shape[1]
        classes = labels.unique()
        if len(classes) < 3 or width % heads:
            raise LayerwiseError(
                f"{len(classes)} base classes and {heads} heads for {width} channels; give at "
                "least 3 classes, and heads that divide the channels"
            )
        pooled = feature_map.mean((2, 3))
        scale = (pooled - pooled.mean(0)).square().sum(1).mean().clamp(min=1e-12)
        attention = _identity(width, heads, feature_map.dtype)
        few = cls(rows(feature_map).contiguous(), scale, attention, neighbours=neighbours)
        generator = generator or Generator().manual_seed(0)
        optimiser = torch.optim.Adam(attention.parameters(), lr=rate)
        ways = min(ways, len(classes) - 1)
        with torch.enable_grad():
            for _ in range(episodes if neighbours else 0):
                chosen = classes[torch.randperm(len(classes), generator=generator)[:ways]]
                own = [(labels == c).nonzero().flatten() for c in chosen]
                drawn = [r[torch.randperm(len(r), generator=generator)] for r in own]
                support = torch.cat([r[:shots] for r in drawn])
                queries = torch.cat([r[shots : shots + asked] for r in drawn])
                if len(queries) == 0:
                    continue
                free = (~torch.isin(labels, chosen)).nonzero().flatten()
                logits = few._logits(
                    few.base[support], labels[support], pooled[queries], few.base[free]
                )
                answers = torch.searchsorted(chosen.sort().values, labels[queries])
                optimiser.zero_grad()
                nn.functional.cross_entropy(logits, answers).backward()
                optimiser.step()
        return few.requires_grad_(False)

    def forward(
        self,
        feature_map: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        queries: Float[Tensor, "m c"],
    ) -> Float[Tensor, "m k"]:
        """Logits of each new class, in the order of their labels.

        Args:
            feature_map: maps of one or a few pictures of each new class.
            labels: their classes.
            queries: pooled maps of pictures to be classified.

        Raises:
            LayerwiseError: maps that do not match or are not finite, or missing labels.
        """
        require_labelled(feature_map, labels)
        require_finite(queries, "queries")
        return self._logits(rows(feature_map), labels, queries, self.base)

    def _logits(
        self,
        places: Float[Tensor, "n t d"],
        labels: Int[Tensor, " n"],
        queries: Float[Tensor, "m d"],
        base: Float[Tensor, "b t d"],
    ) -> Float[Tensor, "m k"]:
        _, index, counts = labels.unique(return_inverse=True, return_counts=True)
        shots = self._adapt(places, base).mean(1)
        sums = shots.new_zeros(len(counts), shots.shape[1]).index_add(0, index, shots)
        # Not `cdist`: its gradient at equal rows is not finite.
        distances = (queries[:, None] - sums / counts[:, None]).square().sum(2)
        return -8 * distances / self.scale

    def _adapt(
        self, places: Float[Tensor, "n t d"], base: Float[Tensor, "b t d"]
    ) -> Float[Tensor, "n t d"]:
        """Let maps take from their nearest base maps."""
        count = min(self.neighbours, len(base))
        if count == 0:
            return places
        found = Neighbours.fit(base.mean(1))(places.mean(1), count=count).rows
        keys = base[found].flatten(1, 2)
        return places + self.attention(places, keys, keys, need_weights=False)[0]


def _identity(width: int, heads: int, dtype: torch.dtype) -> nn.MultiheadAttention:
    """Attention whose projections are the identity, and whose output is zero."""
    attention = nn.utils.skip_init(
        nn.MultiheadAttention, width, heads, batch_first=True, dtype=dtype
    )
    with torch.no_grad():
        for weight in attention.parameters():
            weight.zero_()
        attention.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
    return attention
