"""Is the sample large enough for what is measured on it?

Rules that are known, each with what it would distort: covariances and all that is read off their
spectrum, dimensions from neighbours, biased similarities, distances of class means. A note is no
error: the number still stands, and layers over the same samples can be compared as long as none is
at its limit.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from layerwise.measures._checked import checked
from layerwise.measures._debiased_participation import debiased_participation_ratio
from layerwise.measures._intrinsic_dimension import intrinsic_dimension
from layerwise.measures._neural_collapse import neural_collapse

_NOISE = 0.1


def sample_notes(
    features: Float[Tensor, "n d"], *, labels: Int[Tensor, " n"] | None = None
) -> tuple[str, ...]:
    """What should be known about measures of a layer over so few samples.

    Args:
        features: at least 4 samples.
        labels: class of each sample, where neural collapse is to be measured.

    Raises:
        LayerwiseError: fewer than 4 samples, NaN, or labels that `neural_collapse` refuses.

    Example:
        >>> import torch
        >>> noise = torch.randn(60, 300, generator=torch.Generator().manual_seed(0))
        >>> for note in sample_notes(noise): print(note.split(":")[0])
        rank and spectrum
        intrinsic dimension
        biased CKA
        >>> sample_notes(noise.repeat(1, 1)[:, :2].repeat(40, 1) + torch.rand(2400, 2))
        ()
    """
    rows = checked(features, least=4)
    n, d = rows.shape
    notes = []
    used = debiased_participation_ratio(rows).item()
    if n < 10 * min(used, d):
        notes.append(
            f"rank and spectrum: {n} samples of a layer that uses about {min(used, d):.0f} "
            f"directions; give some {10 * min(used, d):.0f}, or debiased_participation_ratio"
        )
    dimension = intrinsic_dimension(rows[:2000]).item()
    if dimension > 2 * math.log10(n):
        notes.append(
            f"intrinsic dimension: {n} samples tell no more than about {2 * math.log10(n):.1f} "
            f"dimensions apart (Eckmann and Ruelle 1992), so that {dimension:.1f} is too low"
        )
    if n < 2 * d:
        notes.append(
            f"biased CKA: {n} samples in {d} channels look alike whatever they say; keep "
            "unbiased=True"
        )
    if labels is not None and (noise := neural_collapse(rows, labels).noise.item()) > _NOISE:
        notes.append(
            f"neural collapse: {min(noise, 1):.0%} of the variance between class means is chance, "
            "for few samples in each class, so that nc1 and cdnv are too low; give some "
            f"{noise / _NOISE:.0f} times as many"
        )
    return tuple(notes)
