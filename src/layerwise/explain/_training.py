"""Training of the networks that turn features back into pictures: one loop under both."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.features._finite import require_finite


def train(
    module: nn.Module,
    inputs: Tensor,
    image: Tensor,
    *,
    epochs: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
    progress: Progress | None,
) -> None:
    """Bring a module's pictures near to the true ones in mean square, with Adam; then freeze it.

    The rate falls to nothing along a cosine. The samples come in a new order in every round.

    Args:
        module: from inputs to pictures; it is changed.
        inputs: one for each picture.
        image: the pictures.
        epochs: times that all samples come by.
        batch: samples in a step, as far as there are so many.
        rate: of the first step.
        generator: draws the order.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: no samples, not one input for each picture, or values that are not finite.
    """
    if len(inputs) != len(image) or len(image) == 0:
        raise LayerwiseError(
            f"{len(inputs)} rows of features for {len(image)} pictures; give one for each, and at "
            "least one"
        )
    require_finite(inputs)
    require_finite(image, "pictures")
    if min(epochs, batch) < 1:
        raise LayerwiseError(f"{epochs} epochs of batches of {batch}; give at least 1 of each")
    stepper = torch.optim.Adam(module.parameters(), lr=rate)
    steps = epochs * math.ceil(len(image) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, steps)
    module.train()
    done = 0
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(epochs):
            order = torch.randperm(len(image), generator=generator, device=generator.device)
            for rows in order.to(image.device).split(batch):
                loss = (module(inputs[rows]) - image[rows]).square().mean()
                stepper.zero_grad()
                loss.backward()
                stepper.step()
                schedule.step()
                done += 1
                if progress is not None:
                    progress("training", done, steps)
    stepper.zero_grad()
    module.eval().requires_grad_(False)


def normalised_error(found: Tensor, image: Tensor) -> Tensor:
    """Mean distance of pictures from the true ones, over that of every two true ones.

    Args:
        found: pictures `[n c h w]`.
        image: the true ones.

    Example:
        >>> image = torch.rand(4, 3, 5, 5)
        >>> float(normalised_error(image, image))
        0.0
    """
    rows, true = found.flatten(1), image.flatten(1)
    n = len(true)
    between = torch.cdist(true, true).sum() / (n * (n - 1))
    return (rows - true).norm(dim=1).mean() / between
