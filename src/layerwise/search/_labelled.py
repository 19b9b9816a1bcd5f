"""What every readout for classes refuses."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


def require_labelled(features: Float[Tensor, " n *d"], labels: Int[Tensor, " m"]) -> None:
    """Check that rows can be fitted to labels.

    Raises:
        LayerwiseError: no rows, another number of labels, missing labels, or features that are not
            finite.
    """
    if len(features) != len(labels):
        raise LayerwiseError(
            f"{len(features)} rows of features but {len(labels)} labels; give as many"
        )
    if len(features) == 0:
        raise LayerwiseError("there are no rows to fit; give at least one of each class")
    if bool((labels < 0).any()):
        raise LayerwiseError(
            f"{int((labels < 0).sum())} labels are negative, which means missing; leave them out"
        )
    require_finite(features)
