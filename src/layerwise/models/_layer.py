"""A layer as everybody may know it: its address, what flows out of it, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from layerwise.errors import LayerwiseError

Form = Literal["vector", "map", "tokens"]
"""`vector [n d]`, `map [n c h w]` or `tokens [n t d]`."""


@final
@dataclass(frozen=True)
class Layout:
    """Which axis of a layer's output means what, found by evidence.

    Args:
        form: the standard form the output is brought into.
        batch: axis of the samples.
        channel: axis of the channels.
        prefix: leading tokens that are not places of the input (class token, registers).
        grid: height and width of the token grid in the traced example, where there is one.
    """

    form: Form
    batch: int
    channel: int
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def standard(self, output: Tensor) -> Tensor:
        """Bring an output into its form as a view: `[n d]`, `[n c h w]` or `[n t d]`."""
        rest = [a for a in range(output.ndim) if a not in (self.batch, self.channel)]
        if self.form == "vector":
            return output.permute(self.batch, self.channel, *rest).flatten(1)
        if self.form == "map":
            return output.permute(self.batch, self.channel, *rest)
        tokens = output.permute(self.batch, *rest, self.channel)
        return tokens if tokens.ndim == 3 else tokens.flatten(1, -2)

    def original(self, standard: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Bring a standard form back to how the module gave it, with `shape`. A view."""
        rest = [a for a in range(len(shape)) if a not in (self.batch, self.channel)]
        last = self.form == "tokens"
        order = [self.batch, *rest, self.channel] if last else [self.batch, self.channel, *rest]
        unfolded = standard.reshape([shape[axis] for axis in order])
        return unfolded.permute([order.index(axis) for axis in range(len(shape))])

    def tokens(self, standard: Tensor) -> Tensor:
        """Bring the standard form into tokens `[n t d]`: places first, channels last. A view."""
        if self.form == "vector":
            return standard.unsqueeze(1)
        if self.form == "map":
            return standard.flatten(2).transpose(1, 2)
        return standard


@final
@dataclass(frozen=True)
class Layer:
    """One layer of a traced network.

    Args:
        name: address, valid in every room.
        kind: `block`, `stage`, `stem`, `final`, `head`, `attention`, `mlp`, `conv`, `linear`,
            `norm`, `activation`, `embedding`, `pool` or `other`.
        position: place in the order of execution; a module stands where its output appears.
        module: name of its class.
        shape: shape of its output for one sample, batch axis included as 1.
        layout: what the axes mean, or None where the evidence does not decide.
        doubt: why the layer cannot be read or has no layout; empty when all is well.
        calls: how often it runs in one forward.
        parameters: parameters of the layer and everything inside it.
        parameters_before: parameters of all that has run once the layer's output exists.
        flops: floating-point operations of the layer for one sample.
        flops_before: floating-point operations of one sample up to the layer's output.
        share: share of the forward's time that the layer takes, 0 to 1.
        share_before: share of the forward's time gone once the layer's output exists.
        overwritten: whether something later changes its output in place, so that it is copied.
        direct: whether its `forward` is called without going through the module's hooks.
    """

    name: str
    kind: str
    position: int
    module: str
    shape: tuple[int, ...]
    layout: Layout | None
    doubt: str
    calls: int
    parameters: int
    parameters_before: int
    flops: int
    flops_before: int
    share: float
    share_before: float
    overwritten: bool = False
    direct: bool = False

    @property
    def width(self) -> int:
        """Number of channels, the `d` of its pooled features."""
        return self.shape[self.sure.channel]

    @property
    def sure(self) -> Layout:
        """The layout.

        Raises:
            LayerwiseError: the evidence did not decide it.
        """
        if self.layout is None:
            raise LayerwiseError(
                f"layer {self.name!r} cannot be read in a known form: {self.doubt}"
            )
        return self.layout
