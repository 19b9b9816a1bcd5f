"""Attention as a support vector machine: which weights let each sample look at one token only?

With query z_i, tokens x_it and key-query weights W, sample i gives token t the score x_it' W z_i.
The smallest W that puts a chosen token a margin above all others of its sample,

    min |W|  such that  (x_i,chosen - x_it)' W z_i >= 1  for all i and t != chosen,

is where gradient descent on one attention layer goes in direction (P039): with the Frobenius norm
where W itself is trained, with the nuclear norm where it is trained as a product of keys and
queries. To compare a real head, give its tokens, its queries, and as chosen tokens those that it
attends to most. The Frobenius problem is solved exactly, as least distance programming by
non-negative least squares (Lawson and Hanson 1974), in the space of the constraints; the nuclear
one by alternating directions between its proximal map and the projection onto the constraints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@final
@dataclass(frozen=True)
class AttentionSVM:
    """The smallest weights that select the chosen tokens.

    Args:
        weight: key-query weights; NaN where no weights select all of them.
        feasible: whether there are such.
        support: tokens that stand exactly at the margin of their sample.
        steps: chosen token minus each token, the directions that the weights must tell apart.
        queries: of each sample.
    """

    weight: Float[Tensor, "d d"]
    feasible: Bool[Tensor, ""]
    support: Bool[Tensor, "n t"]
    steps: Float[Tensor, "n t d"]
    queries: Float[Tensor, "n d"]

    def correlation(self, weight: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
        """Cosine between other weights and these."""
        return torch.nn.functional.cosine_similarity(weight.flatten(), self.weight.flatten(), dim=0)

    def margin(self, weight: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
        """Least lead of a chosen token over another, for weights of norm 1: below 0 for a miss."""
        leads = torch.einsum("ntd,de,ne->nt", self.steps, weight / weight.norm(), self.queries)
        return leads[self.steps.abs().amax(2) > 0].min()  # not the chosen token over itself


@paper("Transformers as Support Vector Machines", year=2023, arxiv="2308.16898", no=(39,))
def attention_svm(
    tokens: Float[Tensor, "n t d"],
    *,
    chosen: Int[Tensor, " n"] | None = None,
    queries: Float[Tensor, "n d"] | None = None,
) -> AttentionSVM:
    """The weights of least Frobenius norm that select one token of each sample.

    Args:
        tokens: as attention sees them.
        chosen: which token each sample is to look at; without it the first.
        queries: what asks; without it the last token of each sample.

    Raises:
        LayerwiseError: no samples, fewer than 2 tokens, NaN, or a token that is not there.

    Example:
        >>> tokens = torch.eye(3).expand(1, 3, 3)
        >>> svm = attention_svm(tokens)
        >>> svm.feasible.item(), round(svm.weight.norm().item(), 4)
        (True, 0.8165)
    """
    problem = _Problem.of(tokens, chosen, queries)
    shares = problem.least(problem.gram.new_ones(len(problem.gram)))
    return problem.answer(shares, problem.weight(shares))


@paper("Transformers as Support Vector Machines", year=2023, arxiv="2308.16898", no=(39,))
def nuclear_attention_svm(
    tokens: Float[Tensor, "n t d"],
    *,
    chosen: Int[Tensor, " n"] | None = None,
    queries: Float[Tensor, "n d"] | None = None,
    limit: int = 500,
    tolerance: float = 1e-6,
) -> AttentionSVM:
    """The weights of least nuclear norm, a low-rank norm, that select one token of each sample.

    Args:
        tokens: as attention sees them.
        chosen: which token each sample is to look at; without it the first.
        queries: what asks; without it the last token of each sample.
        limit: most steps.
        tolerance: relative change of the weights below which they are done.

    Raises:
        LayerwiseError: no samples, fewer than 2 tokens, NaN, or a token that is not there.

    Example:
        >>> tokens = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
        >>> low, plain = nuclear_attention_svm(tokens), attention_svm(tokens)
        >>> norms = [torch.linalg.matrix_norm(svm.weight, "nuc") for svm in (low, plain)]
        >>> bool(norms[0] < norms[1]), bool(low.weight.norm() > plain.weight.norm())
        (True, True)
    """
    problem = _Problem.of(tokens, chosen, queries)
    shares = problem.least(problem.gram.new_ones(len(problem.gram)))
    held = problem.weight(shares)
    if held.isnan().any():
        return problem.answer(shares, held)
    # A tenth of the largest singular value goes in each step, which suits weights of any scale.
    shrink = 0.1 * torch.linalg.matrix_norm(held, 2)
    gap = torch.zeros_like(held)
    for _ in range(limit):
        u, values, v = torch.linalg.svd(held + gap, full_matrices=False)
        low = (u * (values - shrink).clamp(min=0)) @ v
        aim = low - gap
        shares = problem.least(1 - problem.leads(aim))
        before, held = held, aim + problem.weight(shares)
        gap = gap + held - low
        if max((held - before).norm(), (held - low).norm()) < tolerance * held.norm():
            break
    return problem.answer(shares, held)


@final
@dataclass(frozen=True)
class _Problem:
    """The constraints (row' W asked >= 1) in float64, and the space that they span."""

    tokens: Float[Tensor, "n t d"]
    steps: Float[Tensor, "n t d"]
    queries: Float[Tensor, "n d"]
    asks: Bool[Tensor, "n t"]
    gram: Float[Tensor, "m m"]

    @classmethod
    def of(cls, tokens: Tensor, chosen: Tensor | None, queries: Tensor | None) -> _Problem:
        count, length = tokens.shape[:2]
        if count < 1 or length < 2:
            raise LayerwiseError(
                f"{count} samples of {length} tokens; give at least one sample of two"
            )
        chosen = torch.zeros(count, dtype=torch.int64) if chosen is None else chosen.cpu()
        queries = tokens[:, -1] if queries is None else queries
        require_finite(tokens, "tokens")
        require_finite(queries, "queries")
        if bool(((chosen < 0) | (chosen >= length)).any()):
            raise LayerwiseError(f"chosen tokens {chosen.tolist()}; give 0 to {length - 1}")
        wide, queries = tokens.detach().cpu().double(), queries.detach().cpu().double()
        steps = wide[torch.arange(count), chosen][:, None] - wide
        asks = torch.arange(length) != chosen[:, None]
        rows, asked = steps[asks], queries.repeat_interleave(length - 1, dim=0)
        return cls(tokens, steps, queries, asks, (rows @ rows.T) * (asked @ asked.T))

    def leads(self, weight: Float[Tensor, "d d"]) -> Float[Tensor, " m"]:
        """By how much each sample's chosen token leads over each other one."""
        return torch.einsum("ntd,de,ne->nt", self.steps, weight, self.queries)[self.asks]

    def least(self, needed: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Shares of the constraints in the smallest weights that lead by what is needed."""
        from scipy.optimize import nnls

        spectrum, vectors = torch.linalg.eigh(self.gram)
        root = vectors * spectrum.clamp(min=0).sqrt()
        last = torch.zeros(len(root) + 1, dtype=root.dtype)
        last[-1] = 1
        shares, _ = nnls(torch.cat([root.T, needed[None]]).numpy(), last.numpy())
        found = torch.from_numpy(shares)
        rest = 1 - needed @ found
        # Where nothing is left, the constraints contradict each other.
        return found / (rest if rest > 1e-9 else torch.nan)

    def weight(self, shares: Float[Tensor, " m"]) -> Float[Tensor, "d d"]:
        """The weights that hold each constraint's outer product in these shares."""
        spread = torch.zeros(self.asks.shape, dtype=shares.dtype).masked_scatter(self.asks, shares)
        return torch.einsum("nt,ntd,ne->de", spread, self.steps, self.queries)

    def answer(self, shares: Tensor, weight: Tensor) -> AttentionSVM:
        support = torch.zeros_like(self.asks).masked_scatter(self.asks, shares > 0)
        return AttentionSVM(
            weight=weight.to(self.tokens),
            feasible=weight.isfinite().all(),
            support=support,
            steps=self.steps.to(self.tokens),
            queries=self.queries.to(self.tokens),
        )
