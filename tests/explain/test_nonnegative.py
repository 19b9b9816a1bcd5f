"""Non-negative factorisation against scikit-learn, and where its rows are signed, zero or few."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF, TruncatedSVD
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain import NonNegative


def _rows(rank: int = 6, seed: int = 0) -> Tensor:
    """Rows of a few non-negative parts, and a little of everything else."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(90, rank, generator=generator).double().pow(3)
    parts = torch.rand(rank, 40, generator=generator).double().pow(3)
    return scores @ parts + 0.05 * torch.rand(90, 40, generator=generator).double()


def _left_out(factors: NonNegative, rows: Tensor) -> float:
    return ((factors.restore(factors(rows)) - rows).norm() / rows.norm()).item()


@pytest.mark.parametrize("count", [2, 5])
def test_leaves_out_no_more_than_scikit_learn(count: int) -> None:
    rows = _rows()
    factors = NonNegative.fit(rows, count=count, iterations=1000, tolerance=1e-7)
    reference = NMF(count, init="nndsvda", max_iter=2000, tol=1e-5).fit(rows.numpy())
    expected = reference.reconstruction_err_ / rows.norm()
    assert factors.error.item() == pytest.approx(expected.item(), rel=2e-3)
    assert _left_out(factors, rows) == pytest.approx(factors.error.item(), rel=0.02)
    assert bool((factors.parts >= 0).all())
    assert bool((factors(rows) >= 0).all())


def test_new_rows_are_scored_as_scikit_learn_scores_them() -> None:
    from scipy.optimize import nnls

    factors, fresh = NonNegative.fit(_rows(), count=6), _rows(seed=1)[:5]
    expected = np.stack([nnls(factors.parts.T.numpy(), row.numpy())[0] for row in fresh])
    found = factors(fresh, iterations=3000)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-7)


def test_the_error_never_rises() -> None:
    rows = _rows()
    errors = [
        NonNegative.fit(rows, count=5, iterations=n, tolerance=0.0).error for n in range(1, 40)
    ]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(errors))


def test_signed_rows_have_signed_parts_and_lie_between_clusters_and_components() -> None:
    rows = _rows() - 0.3
    factors = NonNegative.fit(rows, count=4)
    assert bool((factors.parts < 0).any())
    assert bool((factors(rows) >= 0).all())
    components = TruncatedSVD(4, algorithm="arpack").fit_transform(rows.numpy())
    lower = np.sqrt(1 - np.square(components).sum() / rows.square().sum().item())
    assert lower <= _left_out(factors, rows) < 1.2 * lower


def test_no_more_parts_than_rows_and_zero_is_taken_apart_into_nothing() -> None:
    assert NonNegative.fit(torch.rand(3, 8), count=10).parts.shape == (3, 8)
    nothing = NonNegative.fit(torch.zeros(5, 8), count=2)
    assert nothing(torch.zeros(1, 8)).abs().max() == 0
    assert nothing.error == 0


def test_refuses_what_cannot_be_taken_apart() -> None:
    with pytest.raises(LayerwiseError, match="0 parts of 3 rows"):
        NonNegative.fit(torch.rand(3, 8), count=0)
    with pytest.raises(LayerwiseError, match="10 parts of 0 rows"):
        NonNegative.fit(torch.rand(0, 8))
    with pytest.raises(LayerwiseError, match="NaN"):
        NonNegative.fit(torch.full((3, 8), torch.nan))
