"""What a visualisation gives: the picture, where it matters, and how strongly the unit answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.explain._ascent import Summit


@final
@dataclass(frozen=True)
class Visualisation:
    """A picture that a unit answers to.

    Args:
        picture: values from 0 to 1.
        importance: how much each pixel mattered along the way, from 0 to 1.
        scores: the unit's answer at each step, as the step saw the picture.
        reached: the unit's answer in the end, without noise: to the picture if the ascent showed it
            whole, else the mean over crops of a quarter of its sides.
    """

    picture: Float[Tensor, "c h w"]
    importance: Float[Tensor, "h w"]
    scores: Float[Tensor, " s"]
    reached: Float[Tensor, ""]

    @classmethod
    def of(cls, picture: Tensor, summit: Summit, reached: Tensor) -> Visualisation:
        """What an ascent has come to.

        Args:
            picture: in the end.
            summit: of the ascent.
            reached: the unit's answer to the picture.
        """
        weight = summit.sensitivity.mean(0)
        importance = weight / weight.max().clamp(min=torch.finfo(weight.dtype).tiny)
        return cls(picture, importance, summit.scores, reached)
