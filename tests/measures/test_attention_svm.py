"""Attention SVMs against a general solver, and against where gradient descent goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures import AttentionSVM, attention_svm, nuclear_attention_svm


def _tokens(seed: int, n: int = 3, t: int = 3, d: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, d, generator=generator, dtype=torch.float64)


def _rows(svm: AttentionSVM) -> np.ndarray:
    """Constraints as rows over the flattened weights."""
    outer = torch.einsum("ntd,ne->ntde", svm.steps, svm.queries).flatten(2).flatten(0, 1)
    return outer[outer.abs().amax(1) > 0].numpy()


@pytest.mark.parametrize("seed", range(3))
def test_the_frobenius_solution_is_that_of_a_general_solver(seed: int) -> None:
    found = attention_svm(_tokens(seed), chosen=torch.tensor([0, 2, 1]))
    rows = _rows(found)
    solved = minimize(
        lambda w: w @ w / 2,
        np.linalg.lstsq(rows, np.full(len(rows), 2.0), rcond=None)[0],
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: rows @ w - 1, "jac": lambda _: rows},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found.weight.flatten().numpy(), solved.x, atol=1e-5)
    leads = rows @ found.weight.flatten().numpy()
    assert leads.min() == pytest.approx(1)
    assert found.support.sum() == (np.abs(leads - 1) < 1e-8).sum()
    assert found.margin(found.weight).item() == pytest.approx(1 / found.weight.norm().item())


@pytest.mark.parametrize("seed", range(3))
def test_the_nuclear_solution_is_that_of_a_general_solver_over_factors(seed: int) -> None:
    tokens = _tokens(seed, n=2, t=3, d=3)
    found = nuclear_attention_svm(tokens)
    rows = _rows(found)

    def product(factors: np.ndarray) -> np.ndarray:
        keys, queries = factors.reshape(2, 3, 3)
        return (keys @ queries.T).ravel()

    # The nuclear norm is the least half of the factors' squared norms.
    best = np.inf
    for start in range(4):
        random = np.random.default_rng(start)
        solved = minimize(
            lambda f: f @ f / 2,
            2 * random.standard_normal(18),
            jac=lambda f: f,
            constraints={"type": "ineq", "fun": lambda f: rows @ product(f) - 1},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        best = min(best, solved.fun if solved.success else np.inf)
    norm = torch.linalg.matrix_norm(found.weight, "nuc").item()
    assert norm == pytest.approx(best, rel=1e-3)
    assert (rows @ found.weight.flatten().numpy()).min() > 1 - 1e-6


def test_tokens_that_cannot_be_told_apart_are_not_feasible() -> None:
    tokens = torch.randn(2, 3, 4)
    tokens[1] = tokens[0]
    chosen = torch.tensor([0, 1])
    for solve in (attention_svm, nuclear_attention_svm):
        found = solve(tokens, chosen=chosen)
        assert not found.feasible
        assert found.weight.isnan().all()
    assert attention_svm(tokens).feasible


def test_the_scale_of_the_tokens_decides_that_of_the_weights() -> None:
    tokens = _tokens(0)
    one, other = attention_svm(tokens), attention_svm(10 * tokens)
    torch.testing.assert_close(one.weight, 100 * other.weight)
    assert one.correlation(other.weight).item() == pytest.approx(1)


def test_mistakes_are_named() -> None:
    tokens = torch.randn(3, 4, 5)
    with pytest.raises(LayerwiseError, match="0 samples of 4 tokens"):
        attention_svm(tokens[:0])
    with pytest.raises(LayerwiseError, match=r"chosen tokens \[0, 4, 1\]; give 0 to 3"):
        attention_svm(tokens, chosen=torch.tensor([0, 4, 1]))
    with pytest.raises(LayerwiseError, match="tokens hold NaN"):
        attention_svm(tokens.where(tokens != tokens[1, 1, 1], torch.nan))


def _descend(
    tokens: Tensor, queries: Tensor, signs: Tensor, heads: Tensor, *, factored: bool
) -> tuple[Tensor, Tensor]:
    """Weights of several runs after normalised gradient descent, and what tokens they attend to.

    A run stops when it looks at one token of each sample: beyond, float64 cannot tell the rest.
    """
    runs, d = len(tokens), tokens.shape[3]
    generator = torch.Generator().manual_seed(0)
    shape = (2 if factored else 1, runs, d, d)
    factors = 0.01 * torch.randn(shape, generator=generator, dtype=torch.float64)
    for _ in range(4000):
        factors.requires_grad_()
        weights = factors[0] @ factors[1].mT if factored else factors[0]
        attention = torch.einsum("sntd,sde,sne->snt", tokens, weights, queries).softmax(2)
        answers = signs * torch.einsum("snt,sntd,sd->sn", attention, tokens, heads)
        (gradient,) = torch.autograd.grad(-answers.sum(), factors)
        norm = gradient.square().sum((0, 2, 3), keepdim=True).sqrt()
        looks_on = attention.amax(2).amin(1) < 1 - 1e-11
        factors = (factors - 0.03 * looks_on[:, None, None] * gradient / norm).detach()
        if not looks_on.any():
            break
    return weights.detach(), attention.argmax(2)


def test_gradient_descent_goes_towards_the_svm_of_its_own_tokens(
    claim: Callable[..., None],
) -> None:
    seeds = 6
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(seeds, *shape, generator=generator, dtype=torch.float64)

    tokens, queries = (
        torch.nn.functional.normalize(rows, dim=-1) for rows in (drawn(4, 4, 8), drawn(4, 8))
    )
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    heads = drawn(8)
    found = torch.zeros(2, 2, seeds)
    for i, factored in enumerate((False, True)):
        weights, chosen = _descend(tokens, queries, signs, heads, factored=factored)
        for j, solve in enumerate((attention_svm, nuclear_attention_svm)):
            for seed in range(seeds):
                svm = solve(tokens[seed], chosen=chosen[seed], queries=queries[seed])
                found[i, j, seed] = svm.correlation(weights[seed])
    (plain, plain_low), (low_plain, low) = found
    claim(
        paper="P039",
        says="Normalised gradient descent on the key-query weights of one attention layer, 6 draws "
        "of 4 samples of 4 tokens: the weights correlate by over 0.95 with the Frobenius SVM of "
        "the tokens that they select",
        measured={"Frobenius": plain.mean(), "least": plain.min(), "nuclear": plain_low.mean()},
        holds=bool((plain > 0.95).all()),
    )
    claim(
        paper="P039",
        says="Trained as a product of keys and queries, the weights correlate more with the "
        "nuclear SVM than with the Frobenius one, in the mean of 6 draws",
        measured={
            "nuclear": low.mean(),
            "Frobenius": low_plain.mean(),
            "draws of 6": (low > low_plain).sum(),
        },
        holds=bool(low.mean() > low_plain.mean()),
    )
    assert (plain > 0.95).all()
    assert low.mean() > low_plain.mean()
