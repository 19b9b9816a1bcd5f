"""Points of a shape described by what a network of pictures sees of them (P265).

The shape is seen from several sides. A point takes the mean, over the views that see it, of the
features of the cell it falls into. Over the surface these are then averaged with Gaussian weights
of the geodesic distance, a view counting once wherever it sees a point, so that points that nothing
sees are described by their surroundings.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, shortest_path
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.search._dense import dense, rows


def back_project(
    network: Network,
    image: Float[Tensor, "v 3 H W"],
    *,
    places: Float[Tensor, "v p 2"],
    seen: Bool[Tensor, "v p"],
    distances: Float[Tensor, "p p"] | None = None,
    layer: str = "75%",
    spread: float = 0.1,
) -> Float[Tensor, "p c"]:
    """Describe points of a shape.

    Args:
        network: any network of pictures.
        image: views of the shape, prepared for the network.
        places: where each point lies in each view, in pixels to the right and down.
        seen: whether the view sees the point there.
        distances: between the points, as `geodesics` gives them; without them nothing is averaged
            over the surface, and every point has to be seen.
        layer: what describes the places.
        spread: deviation of the Gaussian weights.

    Raises:
        LayerwiseError: no views, values that are not finite, places that fit neither views nor
            points, a point that nothing sees and no distances, or a spread that is not positive.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> views = torch.rand(2, 3, 16, 16)
        >>> places = torch.tensor([[[2.0, 2.0], [9.0, 2.0]]]).repeat(2, 1, 1)
        >>> seen = torch.tensor([[True, True], [True, False]])
        >>> points = back_project(network, views, places=places, seen=seen, layer="0")
        >>> found = layerwise.read(network, views, "0")["0"]
        >>> bool(torch.allclose(points[0], found[:, :, 0, 0].mean(0), atol=1e-6))
        True
    """
    if places.shape[:2] != seen.shape or len(seen) != len(image) or not spread > 0:
        raise LayerwiseError(
            f"{len(image)} views, places {list(places.shape)}, seen {list(seen.shape)}, "
            f"spread={spread}: give places [views points 2], seen [views points] and a positive "
            "spread"
        )
    maps = dense(network, image, layer=layer)
    require_finite(places[seen], "places")
    sides = places.new_tensor([image.shape[3], image.shape[2]])
    grid = torch.tensor([maps.shape[3], maps.shape[2]], device=places.device)
    cells = (places.nan_to_num() / sides * grid).floor().long()
    within = ((cells >= 0) & (cells < grid)).all(2) & seen
    cells = torch.minimum(cells.clamp(min=0), grid - 1)
    found = rows(maps).gather(
        1, (cells[..., 1] * grid[0] + cells[..., 0])[..., None].expand(-1, -1, maps.shape[1])
    )
    total, views = (found * within[..., None]).sum(0), within.sum(0).to(found)
    if distances is not None:
        weights = torch.exp(-distances.to(found).square() / (2 * spread**2))
        total, views = weights @ total, weights @ views
    unseen = int((views <= 0).sum())
    if unseen:
        raise LayerwiseError(
            f"{unseen} of {len(views)} points are seen by no view, nor any point near them; give "
            "more views, or distances that lead to points that are seen"
        )
    return total / views[:, None]


def geodesics(points: Float[Tensor, "p 3"], *, near: int = 8) -> Float[Tensor, "p p"]:
    """Lengths of shortest ways between points of a surface, in units of the longest.

    A way goes from point to point, each among the `near` nearest of the other. Parts that no way
    joins are as far from each other as the longest way.

    Args:
        points: on the surface, dense enough that neighbours are near.
        near: neighbours of each point.

    Raises:
        LayerwiseError: fewer than 2 points, or values that are not finite.

    Example:
        >>> corner = torch.tensor([[0.0, 2, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]])
        >>> geodesics(corner, near=1)[0].tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    require_finite(points, "points")
    if len(points) < 2 or near < 1:
        raise LayerwiseError(
            f"{len(points)} points and near={near}: give at least 2 points and 1 neighbour"
        )
    straight = torch.cdist(points.double(), points.double()).cpu()
    count = min(near + 1, len(points))
    lengths, others = straight.topk(count, largest=False)
    mine = torch.arange(len(points)).repeat_interleave(count)
    # A length of 0 would be no edge to scipy.
    edges = lengths.flatten().clamp(min=1e-12).numpy(), (mine.numpy(), others.flatten().numpy())
    graph = coo_matrix(edges, shape=straight.shape).tocsr()
    found = shortest_path(graph, method="D", directed=False)
    np.fill_diagonal(found, 0.0)
    if connected_components(graph, directed=False)[0] > 1:
        found[np.isinf(found)] = found[np.isfinite(found)].max()
    ways = torch.from_numpy(found).to(points)
    return ways / ways.max().clamp(min=1e-12)
