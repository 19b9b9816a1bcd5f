"""CSE: a small embedding in which normal places are one and defects are far from it (P122).

Frozen features of each place go through three pointwise layers to a vector of length 1. Places of
normal pictures are pulled to the mean of all normal places, those of made-up defects are pushed at
least `margin` away: `(1 - y) d^2 + y max(0, margin - d)^2`. A few centres of the normal embeddings
are selected by k-means, and a place is as anomalous as it is far from the nearest, blurred. No
normal picture is kept, so that the cost does not grow with their number. Ours: the widths, the blur
of one place; and where no defects are given, they are normal places with noise.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._patch_core import Anomalous

_WIDTHS = (256, 128, 64)


@final
@paper(
    "CSE: Surface Anomaly Detection with Contrastively Selected Embedding",
    year=2024,
    arxiv="2403.01859",
    no=(122,),
)
class ContrastiveSelectedEmbedding(nn.Module):
    """Tells defects of a surface by an embedding made for it. Build it with `fit`.

    Args:
        mean: of the normal places' features.
        scale: their deviations.
        weights: of the three pointwise layers, one after another.
        centres: of the normal embeddings.

    Example:
        >>> normal = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> odd = normal.clone()
        >>> odd[2, :, 1:4, 1:4] += 5
        >>> ContrastiveSelectedEmbedding.fit(normal, steps=50)(odd).scores.argmax().item()
        2
    """

    mean: Float[Tensor, " c"]
    scale: Float[Tensor, " c"]
    centres: Float[Tensor, "k e"]

    def __init__(
        self,
        mean: Float[Tensor, " c"],
        scale: Float[Tensor, " c"],
        weights: list[Tensor],
        centres: Float[Tensor, "k e"],
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("centres", centres)
        for number, weight in enumerate(weights):
            self.register_buffer(f"weight{number}", weight)

    @classmethod
    def fit(
        cls,
        feature_map: Float[Tensor, "n c h w"],
        *,
        defective: Float[Tensor, "m c h w"] | None = None,
        masks: Bool[Tensor, "m h w"] | None = None,
        margin: float = 1.0,
        centres: int = 10,
        steps: int = 200,
        rate: float = 1e-3,
        batch: int = 1024,
        generator: torch.Generator | None = None,
    ) -> ContrastiveSelectedEmbedding:
        """Learn the embedding.

        Args:
            feature_map: of normal pictures.
            defective: of pictures with made-up defects, as by `synthetic_defects`.
            masks: the places of these defects on the maps' grid.
            margin: how far from normal a defect is pushed.
            centres: how many stand for all that is normal.
            steps: of the optimiser (Adam).
            rate: its step size.
            batch: places of either kind in a step.
            generator: for first weights and batches; without it, one of seed 0.

        Raises:
            LayerwiseError: there are no normal pictures, maps that are not finite, or defects
                without masks or without any place.
        """
        if feature_map.numel() == 0:
            raise LayerwiseError("there are no normal pictures to learn from; give at least one")
        require_finite(feature_map, "maps")
        from sklearn.cluster import KMeans  # takes a second, which most runs have no use for

        generator = generator or torch.Generator().manual_seed(0)
        normal = _rows(feature_map).double()
        if defective is None or masks is None:
            odd = _made_up(normal, generator)
        else:
            require_finite(defective, "maps")
            odd = _rows(defective).double()[masks.flatten()]
        if len(odd) == 0:
            raise LayerwiseError("the masks mark no place as defective; give defects")
        mean, scale = normal.mean(0), normal.std(0, correction=0).clamp(min=1e-6)
        normal, odd = (normal - mean) / scale, (odd - mean) / scale
        weights = _first_weights(normal.shape[1], generator)
        with torch.enable_grad():
            _train(weights, normal, odd, margin, steps, rate, batch, generator)
        weights = [weight.detach() for weight in weights]
        inside = _embed(normal, weights)
        different = len(inside.unique(dim=0))
        found = KMeans(min(centres, different), n_init=1, random_state=0).fit(inside.cpu().numpy())
        selected = torch.from_numpy(found.cluster_centers_).to(inside)
        dtype = feature_map.dtype
        parts = [weight.to(dtype) for weight in weights]
        return cls(mean.to(dtype), scale.to(dtype), parts, selected.to(dtype))

    def forward(self, feature_map: Float[Tensor, "n c h w"]) -> Anomalous:
        """Judge pictures.

        Args:
            feature_map: of the same layer.

        Raises:
            LayerwiseError: the maps are not finite.
        """
        require_finite(feature_map, "maps")
        rows = (_rows(feature_map) - self.mean) / self.scale
        weights = [self.get_buffer(f"weight{number}") for number in range(2 * len(_WIDTHS))]
        distances = torch.cdist(_embed(rows, weights), self.centres).amin(1)
        places = _blurred(distances.view(len(feature_map), *feature_map.shape[2:]))
        return Anomalous(places.flatten(1).amax(1) if len(places) else distances, places)


def _rows(feature_map: Float[Tensor, "n c h w"]) -> Float[Tensor, "p c"]:
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)


def _blurred(places: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """A Gaussian of one place."""
    if len(places) == 0:
        return places
    weight = (-torch.arange(-2.0, 3.0).square() / 2).exp().to(places)
    weight = weight / weight.sum()
    rows = nn.functional.pad(places[:, None], (2, 2, 2, 2), mode="replicate")
    rows = nn.functional.conv2d(rows, weight.view(1, 1, 5, 1))
    return nn.functional.conv2d(rows, weight.view(1, 1, 1, 5))[:, 0]


def _made_up(normal: Float[Tensor, "p c"], generator: torch.Generator) -> Float[Tensor, "q c"]:
    """Normal places with noise of two to four times their own spread."""
    noise = torch.randn(normal.shape, generator=generator, dtype=torch.float64).to(normal.device)
    size = 2 + 2 * torch.rand(len(normal), 1, generator=generator, dtype=torch.float64)
    return normal + size.to(normal.device) * normal.std(0, correction=0) * noise


def _first_weights(width: int, generator: torch.Generator) -> list[Tensor]:
    weights = []
    for wide in _WIDTHS:
        drawn = torch.randn(width, wide, generator=generator, dtype=torch.float64)
        weights += [drawn * (2 / width) ** 0.5, torch.zeros(wide, dtype=torch.float64)]
        width = wide
    return [weight.requires_grad_() for weight in weights]


def _embed(rows: Float[Tensor, "p c"], weights: list[Tensor]) -> Float[Tensor, "p e"]:
    for number in range(0, len(weights), 2):
        rows = rows @ weights[number] + weights[number + 1]
        rows = rows.relu() if number + 2 < len(weights) else rows
    return nn.functional.normalize(rows, dim=1)


def _train(  # noqa: PLR0917
    weights: list[Tensor],
    normal: Tensor,
    odd: Tensor,
    margin: float,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
) -> None:
    optimiser = torch.optim.Adam(weights, lr=rate)
    for _ in range(steps):
        parts = []
        for rows in (normal, odd):
            drawn = torch.randint(len(rows), (min(batch, len(rows)),), generator=generator)
            parts.append(_embed(rows[drawn.to(rows.device)], weights))
        reference = nn.functional.normalize(parts[0].mean(0), dim=0)
        near, far = ((part - reference).square().sum(1).clamp(min=1e-12).sqrt() for part in parts)
        loss = near.square().mean() + (margin - far).clamp(min=0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
