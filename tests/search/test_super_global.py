"""SuperGlobal against its parts written out, and on photographs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.search import SuperGlobalSearch, rerank, scale_gem, super_global
from layerwise.search._average_precision import average_precision


def test_the_descriptor_is_its_parts_by_torchs_own_layers() -> None:
    maps = torch.randn(3, 4, 9, 7).double()
    raised = maps.clamp(min=0.014)
    pool = nn.LPPool2d(2.5, 5, stride=1)
    regions = pool(nn.ReflectionPad2d(2)(raised)) / 25 ** (1 / 2.5)
    mixed = (raised + regions) / 2
    expected = mixed.pow(4.6).mean((2, 3)).pow(1 / 4.6)
    torch.testing.assert_close(super_global(maps), expected)


def test_a_window_wider_than_the_map_shrinks() -> None:
    tiny = torch.rand(2, 3, 2, 1)
    assert super_global(tiny).shape == (2, 3)
    with pytest.raises(LayerwiseError, match="window=4"):
        super_global(tiny, window=4)


def test_scales_are_joined_by_their_maximum() -> None:
    one, other = torch.randn(2, 5, 6)
    units = [rows / rows.norm(dim=1, keepdim=True) for rows in (one, other)]
    torch.testing.assert_close(scale_gem([one, other]), torch.maximum(*units))
    with pytest.raises(LayerwiseError, match="no descriptors"):
        scale_gem([])


def _by_hand(query: Tensor, items: Tensor, near: int, beta: float) -> Tensor:
    """One query and item at a time, as the paper says it."""
    refined = []
    for i, item in enumerate(items):
        alike = items @ item
        others = sorted((j for j in range(len(items)) if j != i), key=lambda j: -alike[j])[:near]
        total = item + beta * sum(alike[j] * items[j] for j in others)
        refined.append(total / (1 + beta * sum(alike[j] for j in others)))
    refined = torch.stack(refined)
    first = refined @ query
    best = first.argsort(descending=True)[: near + 1]
    return (first + refined @ refined[best].max(0).values) / 2


def test_reranking_is_the_recipe_step_by_step() -> None:
    gallery = nn.functional.normalize(torch.randn(60, 8).double(), dim=1)
    queries = nn.functional.normalize(torch.randn(4, 8).double(), dim=1)
    search = SuperGlobalSearch.fit(gallery, first=20, near=5, beta=0.3)
    ranked = search(queries)
    for row, query in enumerate(queries):
        plain = (gallery @ query).argsort(descending=True)
        scores = _by_hand(query, gallery[plain[:20]], 5, 0.3)
        order = scores.argsort(descending=True)
        assert torch.equal(ranked.rows[row], torch.cat([plain[:20][order], plain[20:]]))
        torch.testing.assert_close(ranked.scores[row, :20], scores[order])
        torch.testing.assert_close(
            rerank(query[None], gallery[plain[:20]][None], near=5, beta=0.3)[0], scores
        )


def test_without_neighbours_only_the_query_is_expanded() -> None:
    gallery = torch.eye(4)
    assert SuperGlobalSearch.fit(gallery, near=0)(gallery).rows[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(LayerwiseError, match="first=0"):
        SuperGlobalSearch.fit(gallery, first=0)


def test_average_precision_is_scikit_learns() -> None:
    scores, relevant = torch.rand(6, 30), torch.rand(6, 30) < 0.3
    expected = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    found = average_precision(scores.double(), relevant)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.weights
def test_finds_photographs_by_their_crops(
    crop: Callable[..., Tensor], claim: Callable[..., None]
) -> None:
    network = layerwise.open("efficientnet-lite0")
    relevant = torch.arange(160) // 8 == torch.arange(160)[:, None] // 8
    runs: list[dict[str, float]] = []
    for seed in range(3):
        images = crop(8, (0.35, 0.8), seed).flatten(0, 1)
        light = 0.6 + 0.8 * torch.rand(160, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
        maps = torch.cat(
            [
                layerwise.read(network, part, "bn2")["bn2"]
                for part in (2 * (images * light).clamp(0, 1) - 1).split(32)
            ]
        )
        rows = {"mean": maps.mean((2, 3)), "SuperGlobal": super_global(maps)}
        found = {}
        for name, features in rows.items():
            unit = nn.functional.normalize(features, dim=1)
            found[name] = _precision(unit @ unit.T, relevant)
        ranked = SuperGlobalSearch.fit(rows["SuperGlobal"])(rows["SuperGlobal"])
        scores = torch.empty(160, 160).scatter(1, ranked.rows, ranked.scores)
        found["SuperGlobal, reranked"] = _precision(scores, relevant)
        runs.append(found)
    means = {name: sum(run[name] for run in runs) / 3 for name in runs[0]}
    reranked = means["SuperGlobal, reranked"] > means["SuperGlobal"]
    claim(
        paper="P159",
        says="8 crops of each of 20 photographs in changed light: reranking raises mAP",
        measured=means,
        holds=reranked,
    )
    pooled = means["SuperGlobal"] >= means["mean"]
    claim(
        paper="P159",
        says="8 crops of each of 20 photographs: its pooling finds no less than the mean, by mAP",
        measured=means,
        holds=pooled,
    )
    assert reranked
    assert pooled


def _precision(scores: Tensor, relevant: Tensor) -> float:
    """Mean average precision where each item is looked up among all others."""
    alone = scores.clone().fill_diagonal_(-torch.inf)
    return (
        average_precision(alone, relevant & ~torch.eye(len(scores), dtype=torch.bool)).mean().item()
    )
