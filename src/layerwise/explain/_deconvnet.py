"""Deconvnet: project a unit's activation back to the pixels that drive it.

A network is run backwards from one unit: max pools put values back where they came from, filters
are transposed, and every rectifier rectifies the signal that comes down, whatever its sign was
going up. All but the last is what a gradient does, so a deconvnet is a gradient in which the
rectifiers have another backward rule. Guided backpropagation masks by both signs. Rectifiers are
found as functions, wherever the network calls them; smooth ones (SiLU, GELU) are taken for a ReLU
of what goes in, and a ReLU6 for a ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.explain._input_slopes import input_slopes
from layerwise.explain._target import Target
from layerwise.models import Network

Rule = Callable[[Tensor, Tensor], Tensor]
"""What a rectifier sends down, of what comes from above and of what had gone in."""

_NAMES = (
    *("relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu"),
    *("gelu", "silu", "mish", "hardswish"),
)
_RECTIFIERS = frozenset(_NAMES) | {f"{name}_" for name in _NAMES}


@paper(
    "Visualizing and Understanding Convolutional Networks",
    year=2013,
    arxiv="1311.2901",
    no=(88,),
)
def deconvnet(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
) -> Float[Tensor, "n ..."]:
    """Project units back to the input through a deconvnet.

    Args:
        network: the network, which is left as it was.
        inputs: a batch of numbers.
        labels: column of the target, for each sample. For a feature map at its strongest place
            take `Target(layer, pooling=Max())`.
        target: what is projected; the default is what the network returns.

    Returns:
        In the input's shape; times the unit's activation it is the paper's projection.

    Raises:
        LayerwiseError: the network has no rectifier; and as `input_slopes`.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> shown = deconvnet(network, torch.zeros(1, 2), torch.tensor([1]))
        >>> shown[0].equal(module[0].weight[1].detach())
        True
    """
    return _through(_rectified, network, inputs, labels, target)


def guided_backpropagation(
    network: Network,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    *,
    target: Target | None = None,
) -> Float[Tensor, "n ..."]:
    """The gradient by the input, through paths on which nothing negative goes up or down.

    Args:
        network: the network, which is left as it was.
        inputs: a batch of numbers.
        labels: column of the target, for each sample.
        target: what is explained; the default is what the network returns.

    Raises:
        LayerwiseError: the network has no rectifier; and as `input_slopes`.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 2))
        >>> guided_backpropagation(network, torch.zeros(1, 2), torch.tensor([1])).tolist()
        [[0.0, 0.0]]
    """
    return _through(_guided, network, inputs, labels, target)


def _rectified(above: Tensor, _: Tensor) -> Tensor:
    return above.clamp(min=0)


def _guided(above: Tensor, inside: Tensor) -> Tensor:
    return above.clamp(min=0) * (inside > 0)


def _through(
    rule: Rule, network: Network, inputs: Inputs, labels: Tensor, target: Target | None
) -> Tensor:
    network.take_example(inputs)
    (target or Target()).found(network)  # traced before any rule is in force
    with _Rules(rule) as rules:
        slopes = input_slopes(network, inputs, labels, target=target)
    if rules.count == 0:
        raise LayerwiseError(
            f"{network.name} calls none of the rectifiers that this method changes "
            f"(ReLU, GELU, SiLU and their like); explain it with input_slopes"
        )
    return slopes


class _Rules(TorchFunctionMode):
    """Gives every rectifier that is called another way back."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule, self.count = rule, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name not in _RECTIFIERS or not torch.is_grad_enabled():
            return func(*args, **given)
        self.count += 1
        value = args[0] if args else given.pop("input")
        output = _Rectifier.apply(
            value, func(value.detach().clone(), *args[1:], **given), self.rule
        )
        if name.endswith("_") or given.get("inplace") or True in args[1:]:
            return value.copy_(output)
        return output


class _Rectifier(torch.autograd.Function):
    """Passes a value up as it is, and down by a rule."""

    @staticmethod
    def forward(ctx: Any, inside: Tensor, output: Tensor, rule: Rule) -> Tensor:
        ctx.save_for_backward(inside.clone())  # something may overwrite it
        ctx.rule = rule
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return ctx.rule(above[0], inside), None, None
