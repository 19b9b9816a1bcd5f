"""Learned weighted sum of layers, after each has been normalised.

`sum_l softmax(a)_l P_l norm(x_l)`, with the weights `a` and a linear readout learned together, as
speech toolkits read upstream networks (SUPERB, Yang et al. 2021). Ours: `norm` gives each layer
zero mean and a total variance of 1 over the training rows, which keeps a sample's strength where a
layer norm over channels loses it. `P_l` is the identity where all widths are equal, else a fixed
random rotation into a common width: learned projections fitted the training rows long before the
weights had moved. The loss is minimised by L-BFGS, and held-out rows say when to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.fuse._aligned import Aligned
from layerwise.fuse._layers import Held, Layers, columns, require_layers

Loss = Callable[[Tensor, Tensor], Tensor]

_PATIENCE = 4
"""Looks at the held-out rows without a better one before learning ends."""

_BETWEEN = 5
"""Steps between two looks."""


@final
class WeightedSum(nn.Module):
    """Adds layers up with learned weights. Build it with `fit`.

    Args:
        aligned: brings the layers to one width and variance.
        mixing: logarithms of the weights, up to a constant.
        readout: the linear readout that was learned with them.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> noise, signal = torch.randn(2, 100, 5, generator=generator)
        >>> layers = {"noise": noise, "signal": signal}
        >>> weighted = WeightedSum.fit(layers, signal.sum(1))
        >>> bool(weighted.weights[1] > 0.8)
        True
    """

    mixing: Float[Tensor, " l"]

    def __init__(self, aligned: Aligned, mixing: Float[Tensor, " l"], readout: nn.Linear) -> None:
        super().__init__()
        self.aligned = aligned
        self.register_buffer("mixing", mixing)
        self.readout = readout

    @classmethod
    def fit(
        cls,
        layers: Layers,
        targets: Float[Tensor, "n k"] | Float[Tensor, " n"],
        *,
        validation: Held | None = None,
        width: int = 512,
        loss: Loss = nn.functional.mse_loss,
        decay: float = 1e-3,
        steps: int = 200,
        generator: torch.Generator | None = None,
    ) -> WeightedSum:
        """Learn the weights.

        Args:
            layers: what each layer holds, `[n d]` with a width of its own.
            targets: one column per number to be read; for classes one column each, 1 or 0.
            validation: layers and targets of other samples, which say when to stop; without them a
                fifth of the rows is set aside for it.
            width: of the sum, where the layers' widths differ.
            loss: of predictions and targets; `nn.functional.cross_entropy` for classes.
            decay: price of the readout's squared weights.
            steps: most steps.
            generator: for the rotations and the rows set aside; seed 0 without it.

        Raises:
            LayerwiseError: no layers, rows that do not match or are not finite, or fewer than five.
        """
        n = require_layers(layers, rows=len(targets))
        if n < 5:
            raise LayerwiseError(f"{n} rows are too few to learn weights from; give at least 5")
        generator = generator or torch.Generator().manual_seed(0)
        if validation is None:
            order = torch.randperm(n, generator=generator, device=generator.device)
            held, train = order[: n // 5].to(targets.device), order[n // 5 :].to(targets.device)
            validation = {name: x[held] for name, x in layers.items()}, targets[held]
            layers, targets = {name: x[train] for name, x in layers.items()}, targets[train]
        aligned = Aligned.fit(layers, width=width, generator=generator)
        here, there = aligned(layers), aligned(validation[0])
        learned = _learn(
            (here, columns(targets).to(here)),
            (there, columns(validation[1]).to(here)),
            loss=loss,
            decay=decay,
            steps=steps,
        )
        return cls(aligned, learned[0], _linear(*learned[1:]))

    @property
    def weights(self) -> Float[Tensor, " l"]:
        """How much of each layer is in the sum; together 1."""
        return self.mixing.softmax(0)

    def forward(self, layers: Layers) -> Float[Tensor, "n w"]:
        """The sum, times the root of the number of layers, so that its variance stays near 1.

        Args:
            layers: what the layers of the fit hold.

        Raises:
            LayerwiseError: a layer is missing.
        """
        return _mix(self.mixing, self.aligned(layers))

    def predict(self, layers: Layers) -> Float[Tensor, "n k"]:
        """What the readout says of the sum: targets, or logits after a cross-entropy."""
        return self.readout(self(layers))


def _mix(mixing: Float[Tensor, " l"], aligned: Float[Tensor, "l n w"]) -> Float[Tensor, "n w"]:
    return torch.einsum("l,lnw->nw", mixing.softmax(0) * len(mixing) ** 0.5, aligned)


def _learn(
    train: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    *,
    loss: Loss,
    decay: float,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithmic weights, readout and bias that did best on the held-out rows."""
    inputs, targets = train
    mixing = inputs.new_zeros(len(inputs), requires_grad=True)
    readout = inputs.new_zeros(inputs.shape[2], targets.shape[1], requires_grad=True)
    bias = targets.mean(0).requires_grad_()
    learned = (mixing, readout, bias)
    optimiser = torch.optim.LBFGS(
        learned, max_iter=_BETWEEN, history_size=20, line_search_fn="strong_wolfe"
    )

    def error(rows: Tensor, wanted: Tensor) -> Tensor:
        return loss(_mix(mixing, rows) @ readout + bias, wanted)

    def descend() -> Tensor:
        optimiser.zero_grad()
        total = error(inputs, targets) + decay * readout.square().sum()
        total.backward()
        return total

    least, waited, best = torch.inf, 0, [value.detach().clone() for value in learned]
    for _ in range(max(1, steps // _BETWEEN)):
        optimiser.step(descend)
        with torch.no_grad():
            now = error(*held).item()
        waited = 0 if now < least else waited + 1
        if waited == _PATIENCE:
            break
        if waited == 0:
            least, best = now, [value.detach().clone() for value in learned]
    return best[0], best[1], best[2]


def _linear(weight: Float[Tensor, "w k"], bias: Float[Tensor, " k"]) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, *weight.shape, dtype=weight.dtype, device=weight.device)
    layer.weight.data.copy_(weight.T)
    layer.bias.data.copy_(bias)
    return layer.requires_grad_(False)
