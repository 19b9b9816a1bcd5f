"""Keypoints of shapes, found again from a few labelled ones (P265).

Each keypoint is known by the mean of its features on the labelled shapes, and by its geodesic
distances to the other keypoints. On a new shape a matrix M says how much each point is each
keypoint, or none (a softmax over the keypoints and one more column); by gradient descent the
features and distances that it selects are brought to those known:
`|M' F - F_k| + weight |M' D M - D_k|`. The keypoint is the point that is most of it. Without
distances, features alone are assigned (the Hungarian method), which is the paper's baseline.

Ours: rows are brought to length 1, so that the weight means the same for every network. The matrix
starts at the cosines with `sharpness`, the first time without noise; each start ends with
exchanging one point at a time while both differences together fall, and the lowest end is taken:
gradient descent alone often stops far from it. What is symmetric stays so: where features do not
tell left from right, distances do not either, and the mirrored answer is as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@final
@paper(
    "Back to 3D: Few-Shot 3D Keypoint Detection with Back-Projected 2D Features",
    year=2023,
    arxiv="2311.18113",
    no=(265,),
)
class Keypoints(nn.Module):
    """Finds keypoints on shapes whose points are described. Build it with `fit`.

    Args:
        features: of each keypoint, of length 1.
        distances: between keypoints; infinite where no shape has both.

    Example:
        >>> points = nn.functional.normalize(torch.eye(4) + 0.1, dim=1)
        >>> keypoints = Keypoints.fit(points, torch.tensor([-1, 1, 0, -1]))
        >>> keypoints(points.flip(0)).tolist()
        [1, 2]
    """

    features: Float[Tensor, "k d"]
    distances: Float[Tensor, "k k"]

    def __init__(self, features: Float[Tensor, "k d"], distances: Float[Tensor, "k k"]) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("distances", distances)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        distances: Float[Tensor, "n n"] | None = None,
    ) -> Keypoints:
        """Learn from labelled points of one shape or several.

        Args:
            features: of the points of all labelled shapes, as `back_project` gives them.
            labels: which keypoint each is, counted from 0; -1 for other points.
            distances: between them, as `geodesics` gives them; infinite between two shapes.

        Raises:
            LayerwiseError: no labelled point, a keypoint that no point is, or features that are
                not finite.
        """
        require_finite(features)
        if len(features) != len(labels) or not bool((labels >= 0).any()):
            raise LayerwiseError(
                f"{len(features)} points and {len(labels)} labels, {int((labels >= 0).sum())} of "
                "them keypoints; give one label for each point, at least one of 0 or more"
            )
        count = int(labels.max()) + 1
        chosen = (labels[:, None] == torch.arange(count, device=labels.device)).to(features)
        shots = chosen.sum(0)
        if bool((shots == 0).any()):
            missing = int((shots == 0).nonzero()[0])
            raise LayerwiseError(
                f"no point is keypoint {missing}; number the keypoints from 0 without gaps"
            )
        unit = nn.functional.normalize(features, dim=1)
        mean = nn.functional.normalize(chosen.T @ unit / shots[:, None], dim=1)
        between = features.new_full((count, count), torch.inf)
        if distances is not None:
            _require_distances(distances, len(features))
            known = distances.isfinite().to(features)
            pairs = chosen.T @ known @ chosen
            total = chosen.T @ distances.to(features).nan_to_num(posinf=0.0) @ chosen
            between = torch.where(pairs > 0, total / pairs.clamp(min=1), torch.inf)
        return cls(mean, between)

    def forward(
        self,
        features: Float[Tensor, "n d"],
        *,
        distances: Float[Tensor, "n n"] | None = None,
        weight: float = 4.0,
        sharpness: float = 10.0,
        starts: int = 5,
        steps: int = 200,
        rate: float = 0.1,
        generator: Generator | None = None,
    ) -> Int[Tensor, " k"]:
        """Find the keypoints of a shape.

        Args:
            features: of its points.
            distances: between them; without them features alone decide.
            weight: of the distances.
            sharpness: of the starts.
            starts: how many; all but the first are noisy.
            steps: of Adam from each.
            rate: of Adam.
            generator: for the noise.

        Returns:
            Number of the point that is each keypoint.

        Raises:
            LayerwiseError: fewer points than keypoints, features that are not finite, distances
                of other points, or distances though the labelled shapes had none.
        """
        require_finite(features)
        count = len(self.features)
        if len(features) < count or starts < 1:
            raise LayerwiseError(
                f"{len(features)} points for {count} keypoints and starts={starts}; give at least "
                "as many points, and 1 start"
            )
        unit = nn.functional.normalize(features, dim=1)
        if distances is None:
            costs = torch.cdist(unit, self.features).double().cpu().numpy()
            points, keypoints = (torch.from_numpy(x) for x in linear_sum_assignment(costs))
            return points[keypoints.argsort()].to(features.device)
        _require_distances(distances, len(features))
        known = self.distances.isfinite() & (self.distances > 0)
        if count > 1 and not bool(known.any()):
            raise LayerwiseError(
                "the labelled shapes were given without distances; fit with distances=, or leave "
                "them out here"
            )
        problem = _Problem(
            unit,
            distances.to(unit),
            self.features,
            self.distances.masked_fill(~known, 0.0),
            known,
            weight,
        )
        none = unit.new_full((len(unit), 1), sharpness)
        start = torch.cat([sharpness * unit @ self.features.T, none], 1)
        drawn = generator or Generator().manual_seed(0)
        noise = torch.randn(starts - 1, *start.shape, generator=drawn).to(start)
        with torch.enable_grad():
            logits = torch.cat([start[None], start + noise]).detach().requires_grad_()
            optimiser = torch.optim.Adam([logits], lr=rate)
            for _ in range(steps):
                loss = problem.soft(logits.softmax(2)[..., :-1]).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        most = logits.detach().softmax(2)[..., :-1].argmax(1)
        ends = [problem.exchanged(points) for points in most]
        return min(ends, key=lambda end: float(end[1]))[0]


@final
@dataclass(frozen=True)
class _Problem:
    """What is selected, and what it is to come near."""

    features: Float[Tensor, "n d"]
    distances: Float[Tensor, "n n"]
    wanted: Float[Tensor, "k d"]
    between: Float[Tensor, "k k"]
    known: Bool[Tensor, "k k"]
    weight: float

    def soft(self, selected: Float[Tensor, "s n k"]) -> Float[Tensor, " s"]:
        """Both differences of each of several selections."""
        off = selected.mT @ self.features - self.wanted
        far = (selected.mT @ self.distances @ selected - self.between) * self.known
        return _length(off) + self.weight * _length(far)

    def exchanged(self, points: Int[Tensor, " k"]) -> tuple[Int[Tensor, " k"], Float[Tensor, ""]]:
        """Exchange one point at a time for the best other while that helps."""
        points, keypoints = points.clone(), torch.arange(len(points), device=points.device)
        costs = torch.cdist(self.features, self.wanted).square()
        lowest = costs.new_tensor(torch.inf)
        better = True
        while better:
            better = False
            for k in range(len(points)):
                off = costs[points, keypoints]
                far = ((self.distances[points][:, points] - self.between) * self.known).square()
                own = ((self.distances[:, points] - self.between[k]) * self.known[k]).square()
                own[:, k] = 0
                rest = far.sum() - far[k].sum() - far[:, k].sum() + far[k, k]
                total = (off.sum() - off[k] + costs[:, k]).clamp(min=0).sqrt()
                total += self.weight * (rest + 2 * own.sum(1)).clamp(min=0).sqrt()
                if total.min() < lowest - 1e-6:
                    lowest, better = total.min(), True
                    points[k] = total.argmin()
        return points, lowest


def _length(x: Float[Tensor, "s a b"]) -> Float[Tensor, " s"]:
    """Frobenius norms, with a gradient at 0."""
    return (x.square().sum((1, 2)) + 1e-12).sqrt()


def _require_distances(distances: Tensor, count: int) -> None:
    if distances.shape != (count, count) or bool(distances.isnan().any()):
        raise LayerwiseError(
            f"distances {list(distances.shape)} of {count} points; give [{count} {count}] without "
            "NaN, as `geodesics` does"
        )
