"""Gradient ascent on what a picture is made of: one brick under all activation maximisation.

It knows nothing of pictures' priors: a method hands it the start, what the start becomes, and how
to step. It can be stopped after any step and go on from a file, to the same result bit for bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from layerwise.errors import LayerwiseError

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`."""

Objective = Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""From what is changed, the number of the step and a source of chance: what is to rise, the unit's
own answer in it, and the picture that stands between."""

_EVERY = 5.0
"""Seconds between two writings of the file."""


@final
@dataclass(frozen=True)
class Summit:
    """Where an ascent has come to.

    Args:
        start: what was changed, as it is in the end.
        sensitivity: sum over the steps of the absolute gradient at the picture.
        scores: the unit's answer at each step.
    """

    start: Tensor
    sensitivity: Tensor
    scores: Float[Tensor, " s"]


def ascend(
    start: Tensor,
    objective: Objective,
    *,
    steps: int,
    optimiser: Callable[[list[Tensor]], Optimizer],
    generator: torch.Generator | None = None,
    bend: Callable[[Tensor, int], Tensor] | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
    keep: str | Path | None = None,
    what: str = "",
    progress: Progress | None = None,
) -> Summit:
    """Make an objective rise step by step. Call it inside `differentiable`.

    Args:
        start: where to begin; it is not changed.
        objective: see `Objective`.
        steps: how many.
        optimiser: makes the optimiser of what is changed; it walks downwards, as they all do.
        generator: for all chance; seed 0 without it.
        bend: changes the gradient of a step before it is taken.
        after: changes what is changed after each step, such as back into a range.
        keep: file that the state is written to every few seconds and in the end; an ascent that
            finds its own file goes on from it.
        what: says what is done, so that another ascent's file is not taken for this one's.
        progress: called as `progress(stage, done, total)` after every step.

    Raises:
        LayerwiseError: the objective is not finite or has no gradient, or the file is of another
            ascent.
    """
    if steps < 1:
        raise LayerwiseError(f"{steps} steps; give at least 1")
    generator = generator or torch.Generator().manual_seed(0)
    changed = start.detach().clone().requires_grad_()
    stepper = optimiser([changed])
    scores: list[float] = []
    sensitivity: Tensor | None = None
    path = None if keep is None else Path(keep)
    if path is not None and path.exists():
        state = _load(path, what, changed.device)
        changed.data.copy_(state["changed"])
        stepper.load_state_dict(state["stepper"])
        # Loading brings everything to the precision of what is changed; the counters had their own.
        stepper.state[changed].update(state["stepper"]["state"][0])
        generator.set_state(state["generator"].cpu())
        scores, sensitivity = state["scores"], state["sensitivity"]
    written = time.monotonic()
    for step in range(len(scores), steps):
        value, answer, picture = objective(changed, step, generator)
        gradient, slope = _gradients(value, changed, picture)
        with torch.no_grad():
            changed.grad = -(gradient if bend is None else bend(gradient, step))
            stepper.step()
            if after is not None:
                changed.copy_(after(changed))
            sensitivity = slope.abs() if sensitivity is None else sensitivity + slope.abs()
        scores.append(float(answer.detach()))
        if path is not None and (step + 1 == steps or time.monotonic() - written >= _EVERY):
            held = {"what": what, "changed": changed.detach(), "sensitivity": sensitivity}
            held |= {"scores": scores, "stepper": stepper.state_dict()}
            _save(path, held | {"generator": generator.get_state()})
            written = time.monotonic()
        if progress is not None:
            progress("ascent", step + 1, steps)
    assert sensitivity is not None
    return Summit(changed.detach(), sensitivity, changed.detach().new_tensor(scores))


def _gradients(value: Tensor, changed: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    if not value.requires_grad:
        raise LayerwiseError("the layer does not depend on the picture through any gradient")
    if not bool(value.isfinite()):
        raise LayerwiseError(
            "the layer gives NaN or infinite values; look at the network's weights"
        )
    try:
        gradient, slope = torch.autograd.grad(value, [changed, picture])
    except RuntimeError as error:
        raise LayerwiseError(f"the network cannot be differentiated: {error}") from error
    return gradient, slope


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    torch.save(state, beside)
    os.replace(beside, path)


def _load(path: Path, what: str, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        found = state["what"]
    except Exception as error:
        raise LayerwiseError(f"{path} holds no ascent; give another file or remove it") from error
    if found != what:
        raise LayerwiseError(
            f"{path} holds the ascent of {found}, not of {what}; give another file"
        )
    return state
