"""Batch norm folded into the convolution before it, for a pass over much data.

At rest a batch norm multiplies and shifts each channel, which the convolution can do with weights
of its own. The numbers are the same up to rounding. Which convolution feeds which batch norm is
seen in one forward of the example; what makes an output that was asked for is left as it is, and
nothing is folded where the example then comes out otherwise. The network is not touched: the calls
of the two functions are taken over while a batch runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from layerwise.models import Network
from layerwise.taps._channels_last import same_numbers

Inputs = Tensor | Mapping[str, Tensor]
Run = Callable[[Inputs], dict[tuple[str, str], Tensor]]


def folded(network: Network, run: Run, read: Collection[str]) -> Run:
    """The same forward with batch norms folded, or as it is where there are none to fold.

    Measured on a CPU only, so only there.

    Args:
        network: the network, with an example.
        run: what is read from it, as from `pooling`.
        read: addresses of what is read.
    """
    example = network.example
    if not (
        isinstance(example, Tensor)
        and network.device.type == "cpu"
        and any(isinstance(module, nn.BatchNorm2d) for module in network.module.modules())
    ):
        return run
    with _Watch() as watch:
        usual = run(example)
    modules = {address.removesuffix(":in") for address in read}
    weights = {
        id(module.weight)
        for name, module in network.module.named_modules()
        if isinstance(module, nn.Conv2d) and name not in modules
    }
    folding = _Folding([pair for pair in watch.pairs() if id(pair.weight) in weights])

    def shorter(inputs: Inputs) -> dict[tuple[str, str], Tensor]:
        with folding:
            return run(inputs)

    return shorter if folding.scaled and same_numbers(usual, shorter(example)) else run


@final
@dataclass(frozen=True)
class _Pair:
    """A convolution, and the arguments of the batch norm that its output goes into."""

    weight: Tensor
    bias: Tensor | None
    norm: dict[str, Any]

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of both in one."""
        mean, variance = self.norm["mean"].double(), self.norm["variance"].double()
        scale = (variance + self.norm["eps"]).rsqrt()
        if self.norm["weight"] is not None:
            scale = scale * self.norm["weight"].double()
        shift = -mean if self.bias is None else self.bias.double() - mean
        shift = shift * scale
        if self.norm["bias"] is not None:
            shift = shift + self.norm["bias"].double()
        weight = self.weight.double() * scale.reshape(-1, 1, 1, 1)
        weight = weight.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)
        return weight, shift.to(self.weight.dtype)


def _norm(  # noqa: PLR0917 - torch's own order
    _input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> dict[str, Any]:
    del momentum
    fixed = mean is not None and variance is not None and not training
    return {
        "mean": mean if fixed else None,
        "variance": variance,
        "weight": weight,
        "bias": bias,
        "eps": eps,
    }


class _Watch(TorchFunctionMode):
    """Notes every convolution and batch norm of a forward; calls by name are left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: list[tuple[Tensor, Tensor | None, Tensor]] = []
        self.norms: list[tuple[Tensor, dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.conv2d and len(args) > 2:
            self.convolutions.append((args[1], args[2], result))
        elif func is batch_norm and len(args) > 1:
            self.norms.append((args[0], _norm(*args, **(kwargs or {}))))
        return result

    def pairs(self) -> list[_Pair]:
        """Those that belong together, each used once."""
        uses = Counter(id(weight) for weight, _, _ in self.convolutions)
        uses.update(id(norm["mean"]) for _, norm in self.norms)
        makers = {id(made): (weight, bias) for weight, bias, made in self.convolutions}
        return [
            _Pair(*makers[id(value)], norm)
            for value, norm in self.norms
            if id(value) in makers
            and norm["mean"] is not None
            and uses[id(norm["mean"])] == uses[id(makers[id(value)][0])] == 1
        ]


class _Folding(TorchFunctionMode):
    """Runs convolutions with the weights of both, and lets batch norms pass everything through."""

    def __init__(self, pairs: list[_Pair]) -> None:
        super().__init__()
        # The tensors are kept, so that no other one gets their `id`.
        self.pairs = pairs
        self.scaled = {id(pair.weight): pair.scaled() for pair in pairs}
        self.idle = {id(pair.norm["mean"]) for pair in pairs}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and len(args) > 2 and id(args[1]) in self.scaled:
            weight, bias = self.scaled[id(args[1])]
            return func(args[0], weight, bias, *args[3:], **(kwargs or {}))
        if func is batch_norm and len(args) > 1 and id(args[1]) in self.idle:
            return args[0]
        return func(*args, **(kwargs or {}))
