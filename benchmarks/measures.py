"""Measures beside independent packages: same numbers, CPU seconds, peak memory.

    OMP_NUM_THREADS=1 python benchmarks/measures.py [--rounds 3] [--samples 2000]

Every contender runs in processes of its own, in turn. Peak memory is what a call needs beyond the
features; the difference is to our number, relative to it. On a busy machine trust the CPU seconds
of one thread. Rivals are measured where they are installed (`pip install scikit-dimension dadapy
rsatoolbox`); scikit-learn is always there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _results import Row, keep, machine, resident
from rich.console import Console
from torch import Tensor

from layerwise.features import Ridge
from layerwise.measures import cka, effective_rank, intrinsic_dimension, participation_ratio
from layerwise.search import Logistic

WIDTH, CLASSES = 384, 10
PENALTIES = (1.0, 10.0, 100.0)


def features(samples: int) -> tuple[Tensor, Tensor]:
    """A layer of 12 intrinsic dimensions, folded and noisy, and classes that lie in it."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(samples, 12, generator=generator)
    folded = torch.tanh(source @ torch.randn(12, WIDTH, generator=generator))
    labels = (source @ torch.randn(12, CLASSES, generator=generator)).argmax(1)
    return folded + 0.1 * torch.randn(samples, WIDTH, generator=generator), labels


def _onehot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).float()


def _standardised(x: Tensor) -> np.ndarray:
    return ((x - x.mean(0)) / x.std(0, correction=0)).numpy()


def dimension_ours(x: Tensor, _: Tensor) -> float:
    """TwoNN: ours."""
    return intrinsic_dimension(x).item()


def dimension_skdim(x: Tensor, _: Tensor) -> float:
    """TwoNN: scikit-dimension."""
    import skdim

    return float(skdim.id.TwoNN().fit(x.numpy()).dimension_)


def dimension_dadapy(x: Tensor, _: Tensor) -> float:
    """TwoNN: dadapy."""
    from dadapy import Data

    # It fits another line through the same ratios, so that its number differs a little.
    return float(Data(x.double().numpy()).compute_id_2NN(algorithm="base")[0])


def ridge_ours(x: Tensor, labels: Tensor) -> float:
    """Ridge, leave-one-out error of 13 penalties: ours."""
    return Ridge.fit(x, _onehot(labels)).loo_error.mean(1).min().item()


def ridge_sklearn(x: Tensor, labels: Tensor) -> float:
    """Ridge, leave-one-out error of 13 penalties: scikit-learn."""
    from sklearn.linear_model import RidgeCV

    grid = len(x) * np.logspace(-5, 3, 13)
    fitted = RidgeCV(alphas=grid, store_cv_results=True)
    fitted.fit(_standardised(x.double()), _onehot(labels).double().numpy())
    return float(fitted.cv_results_.mean((0, 1)).min())


def logistic_ours(x: Tensor, labels: Tensor) -> float:
    """Logistic regression, 3 penalties, training loss of the middle one: ours."""
    return _loss(Logistic.fit(x, labels, penalties=PENALTIES)(x)[1], labels)


def logistic_sklearn(x: Tensor, labels: Tensor) -> float:
    """Logistic regression, 3 penalties, training loss of the middle one: scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    rows = _standardised(x)
    fitted = [
        LogisticRegression(C=1 / penalty, max_iter=2000, tol=1e-5).fit(rows, labels.numpy())
        for penalty in PENALTIES
    ]
    return _loss(torch.from_numpy(fitted[1].decision_function(rows)), labels)


def _loss(logits: Tensor, labels: Tensor) -> float:
    return torch.nn.functional.cross_entropy(logits.float(), labels).item()


def similarity_ours(x: Tensor, labels: Tensor) -> float:
    """Linear CKA of 1,000 samples with their classes, biased: ours."""
    return cka(x[:1000], _onehot(labels[:1000]), unbiased=False).item()


def similarity_rsatoolbox(x: Tensor, labels: Tensor) -> float:
    """Linear CKA of 1,000 samples with their classes, biased: rsatoolbox (whitened cosine)."""
    import rsatoolbox

    rdms = [
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(rows.double().numpy()), method="euclidean")
        for rows in (x[:1000], _onehot(labels[:1000]))
    ]
    # The whitened cosine of squared distances is linear CKA (Diedrichsen et al. 2020).
    return float(rsatoolbox.rdm.compare(*rdms, method="cosine_cov")[0, 0])


def spectrum_ours(x: Tensor, _: Tensor) -> float:
    """Effective rank and participation ratio: ours."""
    return effective_rank(x).item() + participation_ratio(x).item()


def spectrum_numpy(x: Tensor, _: Tensor) -> float:
    """Effective rank and participation ratio: numpy's singular values."""
    rows = x.double().numpy()
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    shares = values / values.sum()
    rank = np.exp(-np.sum(shares * np.log(shares)))
    return float(rank + np.square(np.square(values).sum()) / np.power(values, 4).sum())


JOBS: tuple[tuple[Callable[[Tensor, Tensor], float], ...], ...] = (
    (dimension_ours, dimension_skdim, dimension_dadapy),
    (ridge_ours, ridge_sklearn),
    (logistic_ours, logistic_sklearn),
    (similarity_ours, similarity_rsatoolbox),
    (spectrum_ours, spectrum_numpy),
)


def measure(job: Callable[[Tensor, Tensor], float], samples: int) -> dict[str, float]:
    """Run in a child process."""
    x, labels = features(samples)
    with contextlib.redirect_stdout(sys.stderr):
        job(x[:1000], labels[:1000])  # imports, compilation
        before = resident("VmRSS", afresh=True)
        clock, work = time.perf_counter(), time.process_time()
        value = job(x, labels)
        work, clock = time.process_time() - work, time.perf_counter() - clock
        peak = resident("VmHWM") - before
    return {"value": value, "seconds": clock, "cpu": work, "megabytes": peak}


def main() -> None:
    """Run every contender in turn and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(measure(globals()[options.child], options.samples)))
        return
    console, facts = Console(), machine("scikit-learn", "scikit-dimension", "dadapy", "rsatoolbox")
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for job in (each for jobs in JOBS for each in jobs):
            # -P: this folder must not hide a package.
            command = [sys.executable, "-P", __file__, "--child", job.__name__]
            command += ["--samples", str(options.samples)]
            folder = os.path.dirname(__file__)
            path = os.pathsep.join([folder, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONPATH": path},
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
                console.print(f"{job.__name__} was left out: {reason}")
                continue
            found.setdefault(job.__name__, []).append(json.loads(done.stdout))
    rows = [row for jobs in JOBS for row in _rows(jobs, found)]
    console.print(keep("measures", facts, rows, {"runs": found}), markup=False)


def _rows(
    jobs: tuple[Callable[..., Any], ...], found: dict[str, list[dict[str, float]]]
) -> list[Row]:
    def median(job: Callable[..., Any], field: str) -> float:
        return statistics.median(run[field] for run in found[job.__name__])

    ours = median(jobs[0], "value")
    return [
        {
            "measure": (job.__doc__ or "").rstrip("."),
            "difference": f"{abs(median(job, 'value') - ours) / abs(ours):.0e}",
            "CPU seconds": median(job, "cpu"),
            "to ours": median(job, "cpu") / median(jobs[0], "cpu"),
            "peak MB": median(job, "megabytes"),
        }
        for job in jobs
        if job.__name__ in found
    ]


if __name__ == "__main__":
    main()
