"""Training of the networks that learn from features: one loop under all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.features._finite import require_finite


def descend(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    epochs: int,
    batch: int,
    rate: float,
    decay: float = 0.0,
    generator: torch.Generator,
    progress: Progress | None,
) -> None:
    """Make a loss small over samples, with Adam; then freeze what was trained.

    The rate falls to nothing along a cosine. The samples come in a new order in every round.

    Args:
        module: what is trained; it is changed.
        loss: of the samples with these numbers, `[b]`.
        count: of samples.
        epochs: times that all samples come by.
        batch: samples in a step, as far as there are so many.
        rate: of the first step.
        decay: part of the weights that is taken away in a step of rate 1.
        generator: draws the order.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: no epochs, or batches of nothing.
    """
    if min(epochs, batch) < 1:
        raise LayerwiseError(f"{epochs} epochs of batches of {batch}; give at least 1 of each")
    weights = list(module.parameters())
    stepper = torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
    steps = epochs * math.ceil(count / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, steps)
    module.train()
    done = 0
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(epochs):
            order = torch.randperm(count, generator=generator, device=generator.device)
            for rows in order.to(weights[0].device).split(batch):
                stepper.zero_grad()
                loss(rows).backward()
                stepper.step()
                schedule.step()
                done += 1
                if progress is not None:
                    progress("training", done, steps)
    stepper.zero_grad()
    module.eval().requires_grad_(False)


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
    """Bring a module's pictures near to the true ones in mean square, as `descend` does.

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
    descend(
        module,
        lambda rows: (module(inputs[rows]) - image[rows]).square().mean(),
        len(image),
        epochs=epochs,
        batch=batch,
        rate=rate,
        generator=generator,
        progress=progress,
    )


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
