"""A dictionary that is learned from a stream of samples (Mairal, Bach, Ponce and Sapiro, 2009).

Each batch is coded by the lasso, `min 1/2 |x - a D|^2 + strength |a|_1`, and the codes are added to
two sums, `A += a^T a` and `B += a^T x`; then every atom in turn goes to the minimum that these sums
have for it, and back to length 1 if it is longer. Old sums fade by `fade` with each batch, which
lets the dictionary follow what changes.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn


@final
class OnlineDictionary:
    """Atoms that follow samples. Build it with `fit`.

    Args:
        atoms: of at most length 1.
        strength: of the lasso.
    """

    def __init__(self, atoms: Float[Tensor, "k d"], *, strength: float) -> None:
        self.atoms = atoms
        self.strength = strength
        self._codes = atoms.new_zeros(len(atoms), len(atoms))
        self._samples = torch.zeros_like(atoms)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        atoms: int,
        strength: float,
        passes: int = 3,
        batch: int = 100,
        generator: Generator,
    ) -> OnlineDictionary:
        """Start at random samples and learn from all.

        Args:
            features: samples, at least one.
            atoms: how many; where there are fewer samples, these come several times.
            strength: of the lasso.
            passes: through all samples.
            batch: samples in a step.
            generator: for the start and the order.
        """
        first = torch.randperm(len(features), generator=generator)
        first = first.repeat(-(-atoms // len(first)))[:atoms].to(features.device)
        dictionary = cls(_short(features[first]), strength=strength)
        for _ in range(passes):
            order = torch.randperm(len(features), generator=generator).to(features.device)
            for rows in order.split(batch):
                dictionary.update(features[rows])
        return dictionary

    def code(self, features: Float[Tensor, "n d"], *, steps: int = 30) -> Float[Tensor, "n k"]:
        """Lasso codes, by so many steps of accelerated gradient descent (FISTA)."""
        gram, target = self.atoms @ self.atoms.T, features @ self.atoms.T
        rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp(min=1e-12)
        code = ahead = torch.zeros_like(target)
        pace = 1.0
        for _ in range(steps):
            moved = ahead - rate * (ahead @ gram - target)
            new = moved.sign() * (moved.abs() - rate * self.strength).clamp(min=0)
            faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            ahead = new + (pace - 1) / faster * (new - code)
            code, pace = new, faster
        return code

    def update(self, features: Float[Tensor, "n d"], *, fade: float = 1.0) -> None:
        """Learn from a batch.

        Args:
            features: samples.
            fade: what is left of all that was learned before, 0 to 1.
        """
        code = self.code(features)
        self._codes = fade * self._codes + code.T @ code
        self._samples = fade * self._samples + code.T @ features
        atoms = self.atoms.clone()
        for k in range(len(atoms)):
            used = self._codes[k, k]
            if used > 1e-9:
                step = self._samples[k] - self._codes[k] @ atoms
                atoms[k] = _short(atoms[k] + step / used)
        self.atoms = atoms


def _short(atoms: Float[Tensor, "*k d"]) -> Float[Tensor, "*k d"]:
    """No longer than 1."""
    return atoms / torch.linalg.vector_norm(atoms, dim=-1, keepdim=True).clamp(min=1)


def split_code(
    features: Float[Tensor, "n d"], atoms: Float[Tensor, "k d"], *, threshold: float
) -> Float[Tensor, "n 2*k"]:
    """Soft threshold of each atom's dot product, positive and negative parts side by side.

    Example:
        >>> split_code(torch.tensor([[0.9, -0.5]]), torch.eye(2), threshold=0.25).tolist()
        [[0.6499999761581421, 0.0, 0.0, 0.25]]
    """
    found = nn.functional.normalize(atoms, dim=1) @ features.T
    return torch.cat([found - threshold, -found - threshold]).clamp(min=0).T
