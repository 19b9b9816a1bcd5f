"""Measures beside independent packages, and of a large layer: CPU seconds, peak memory.

    OMP_NUM_THREADS=1 python benchmarks/measures.py [--rounds 3] [--samples 2000] [--large 100000]

`--rounds 0` measures the large layer only.

Every contender runs in processes of its own, in turn. Peak memory is what a call needs beyond the
features; the difference is to our number, relative to it; `to ours` compares CPU seconds of the
same round. On a busy machine trust the CPU seconds of one thread. Rivals are measured where they
are installed (`pip install scikit-dimension dadapy rsatoolbox`); scikit-learn is always there.
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
from layerwise.measures import (
    CKA,
    Covariance,
    cka,
    debiased_participation_ratio,
    effective_rank,
    intrinsic_dimension,
    map_r2,
    neural_collapse,
    participation_ratio,
    representation_bias,
    spectral_learning_order,
    spectrum,
    stability_plasticity,
)
from layerwise.search import Logistic

WIDTH, LARGE, CLASSES = 384, 768, 10
PENALTIES = (1.0, 10.0, 100.0)


def features(samples: int, width: int) -> tuple[Tensor, Tensor]:
    """A layer of 12 intrinsic dimensions, folded and noisy, and classes that lie in it."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(samples, 12, generator=generator)
    layer = torch.tanh_(source @ torch.randn(12, width, generator=generator))
    labels = (source @ torch.randn(12, CLASSES, generator=generator)).argmax(1)
    for rows in layer.split(1000):
        rows.add_(torch.randn(rows.shape, generator=generator), alpha=0.1)
    return layer, labels


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


def large_covariance(x: Tensor, _: Tensor) -> float:
    """Spectrum, in batches of 1,000."""
    covariance = Covariance()
    for batch in x.split(1000):
        covariance.update(batch)
    return effective_rank(spectrum(covariance)).item()


def large_cka(x: Tensor, _: Tensor) -> float:
    """CKA of the two halves of the channels, in batches of 1,000."""
    similarity = CKA()
    for batch in x.split(1000):
        similarity.update(batch.chunk(2, dim=1))
    return similarity.result()[0, 1].item()


def large_spectrum(x: Tensor, _: Tensor) -> float:
    """Spectrum."""
    return effective_rank(spectrum(x)).item()


def large_participation(x: Tensor, _: Tensor) -> float:
    """Debiased participation ratio."""
    return debiased_participation_ratio(x).item()


def large_similarity(x: Tensor, _: Tensor) -> float:
    """CKA of the two halves of the channels."""
    return cka(*x.chunk(2, dim=1)).item()


def large_map(x: Tensor, _: Tensor) -> float:
    """Linear map (R2) of one half of the channels to the other."""
    return map_r2(*x.chunk(2, dim=1)).item()


def large_collapse(x: Tensor, labels: Tensor) -> float:
    """Neural collapse."""
    return neural_collapse(x, labels).nc1.item()


def large_bias(x: Tensor, labels: Tensor) -> float:
    """Representation bias."""
    return representation_bias(x, labels).explained.value.item()


def large_stability(x: Tensor, labels: Tensor) -> float:
    """Stability and plasticity of two snapshots, each a half of the channels."""
    return stability_plasticity(x.chunk(2, dim=1), labels).slope.value.item()


def large_order(x: Tensor, labels: Tensor) -> float:
    """Spectral learning order of two snapshots, each a half of the channels."""
    return spectral_learning_order(x.chunk(2, dim=1), labels).lead.value[0].item()


JOBS: tuple[tuple[Callable[[Tensor, Tensor], float], ...], ...] = (
    (dimension_ours, dimension_skdim, dimension_dadapy),
    (ridge_ours, ridge_sklearn),
    (logistic_ours, logistic_sklearn),
    (similarity_ours, similarity_rsatoolbox),
    (spectrum_ours, spectrum_numpy),
)

LARGE_JOBS: tuple[Callable[[Tensor, Tensor], float], ...] = (
    large_covariance,
    large_cka,
    large_spectrum,
    large_participation,
    large_similarity,
    large_map,
    large_collapse,
    large_bias,
    large_stability,
    large_order,
)


def measure(job: Callable[[Tensor, Tensor], float], samples: int, width: int) -> dict[str, float]:
    """Run in a child process."""
    x, labels = features(samples, width)
    with contextlib.redirect_stdout(sys.stderr):
        job(x[:1000], labels[:1000])  # imports, compilation
        before = resident("VmRSS", afresh=True)
        clock, work = time.perf_counter(), time.process_time()
        value = job(x, labels)
        work, clock = time.process_time() - work, time.perf_counter() - clock
        peak = resident("VmHWM") - before
    layer = x.numel() * x.element_size() / 2**20
    return {"value": value, "seconds": clock, "cpu": work, "megabytes": peak, "layer": layer}


def main() -> None:
    """Run every contender in turn and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        name, *size = options.child
        sys.stdout.write(json.dumps(measure(globals()[name], *map(int, size))))
        return
    console = Console()
    if options.rounds:
        _beside_packages(options.rounds, options.samples, console)
    facts = machine()
    runs = {job: run for job in LARGE_JOBS if (run := _apart(job, options.large, LARGE, console))}
    rows = [
        {
            "measure": (job.__doc__ or "").rstrip("."),
            "CPU seconds": run["cpu"],
            "peak MB": run["megabytes"],
            "to the layer": run["megabytes"] / run["layer"],
        }
        for job, run in runs.items()
    ]
    details = {job.__name__: run for job, run in runs.items()}
    console.print(keep("measures_large", facts, rows, {"runs": details}), markup=False)


def _beside_packages(rounds: int, samples: int, console: Console) -> None:
    facts = machine("scikit-learn", "scikit-dimension", "dadapy", "rsatoolbox")
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for job in (each for jobs in JOBS for each in jobs):
            run = _apart(job, samples, WIDTH, console)
            if run:
                found.setdefault(job.__name__, []).append(run)
    rows = [row for jobs in JOBS for row in _rows(jobs, found)]
    console.print(keep("measures", facts, rows, {"runs": found}), markup=False)


def _apart(
    job: Callable[..., Any], samples: int, width: int, console: Console
) -> dict[str, float] | None:
    """What a process of its own measured; nothing, and a word about it, where that failed."""
    # -P: this folder must not hide a package.
    command = [sys.executable, "-P", __file__, "--child", job.__name__, str(samples), str(width)]
    folder = os.path.dirname(__file__)
    path = os.pathsep.join([folder, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        console.print(f"{job.__name__} was left out: {reason}")
        return None
    run: dict[str, float] = json.loads(done.stdout)
    return run


def _rows(
    jobs: tuple[Callable[..., Any], ...], found: dict[str, list[dict[str, float]]]
) -> list[Row]:
    def all_of(job: Callable[..., Any], field: str) -> list[float]:
        return [run[field] for run in found[job.__name__]]

    ours = all_of(jobs[0], "cpu")
    value = statistics.median(all_of(jobs[0], "value"))
    rows: list[Row] = []
    for job in jobs:
        if job.__name__ not in found:
            continue
        work = all_of(job, "cpu")
        off = abs(statistics.median(all_of(job, "value")) - value) / abs(value)
        ratios = [other / own for other, own in zip(work, ours, strict=True)]
        rows.append(
            {
                "measure": (job.__doc__ or "").rstrip("."),
                "difference": f"{off:.0e}",
                "CPU seconds": statistics.median(work),
                "to ours": statistics.median(ratios),
                "peak MB": statistics.median(all_of(job, "megabytes")),
            }
        )
    return rows


if __name__ == "__main__":
    main()
