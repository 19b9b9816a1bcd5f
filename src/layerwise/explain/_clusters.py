"""Groups of pictures by what a layer makes of them: principal components, t-SNE, k-means.

Fewer than a hundred pictures are clustered by their principal components alone: measured on 36,
t-SNE lays so few out otherwise after a change in the seventh digit.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ENOUGH = 100
"""Pictures that t-SNE needs."""


def clusters(
    codes: Float[Tensor, "n d"], facets: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n e"], Int[Tensor, " n"]]:
    """A place for each code, on a plane if there are many, and the number of its cluster.

    Args:
        codes: one row for each picture.
        facets: most clusters.
        generator: starts scikit-learn's chance.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    rows = codes.double().cpu().numpy()
    n, d = rows.shape
    plane = PCA(min(50, n, d), svd_solver="full").fit_transform(rows)
    if n >= _ENOUGH and d > 2:
        plane = TSNE(init="pca", random_state=seed).fit_transform(plane)
    distinct = len({tuple(row) for row in plane.tolist()})
    found = KMeans(min(facets, distinct), n_init=10, random_state=seed).fit_predict(plane)
    return torch.from_numpy(plane).to(codes), torch.from_numpy(found).long().to(codes.device)


def central_means(
    image: Tensor, plane: Float[Tensor, "n e"], index: Int[Tensor, " n"], nearest: int
) -> Float[Tensor, "k c h w"]:
    """The mean of the pictures of each cluster that are nearest to its centre.

    Args:
        image: pictures.
        plane: place of each.
        index: cluster of each.
        nearest: pictures in a mean.
    """
    means = []
    for facet in range(int(index.max()) + 1):
        rows = (index == facet).nonzero().flatten()
        far = (plane[rows] - plane[rows].mean(0)).norm(dim=1)
        means.append(image[rows[far.argsort(stable=True)[:nearest]]].mean(0))
    return torch.stack(means)
