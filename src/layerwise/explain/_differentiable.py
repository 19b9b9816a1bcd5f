"""A network as explanations need it: at rest, with a graph of what flows, none of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.models._examples import shapes
from layerwise.models._hooks import at_rest

Inputs = Tensor | Mapping[str, Tensor]


@contextmanager
def differentiable(network: Network) -> Iterator[Network]:
    """Let gradients flow through a network inside the `with`, and nothing reach its weights.

    Modes, flags, hooks, random states and every weight's `requires_grad` and `grad` are as before
    afterwards, also after an error. The weights take no part in the graph, so a forward keeps only
    what the gradient of its activations needs.

    Args:
        network: the network.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(2, 1), example=torch.zeros(1, 2))
        >>> inputs = torch.ones(1, 2, requires_grad=True)
        >>> with differentiable(network):
        ...     slope, = torch.autograd.grad(network(inputs).sum(), inputs)
        >>> slope.equal(network.module.weight.detach())
        True
    """
    wanted = [weight for weight in network.module.parameters() if weight.requires_grad]
    with at_rest(network.module), torch.enable_grad():
        try:
            for weight in wanted:
                weight.requires_grad_(False)
            yield network
        finally:
            for weight in wanted:
                weight.requires_grad_(True)


@contextmanager
def running(network: Network, inputs: Inputs) -> Iterator[None]:
    """Say in one line what a network does not run on: a picture too small, a text too long.

    Args:
        network: the network.
        inputs: what it runs on inside the `with`.

    Raises:
        LayerwiseError: the network's own code failed.
    """
    try:
        yield
    except (LayerwiseError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        made = (
            f"; its example has shape {shapes(network.example)}"
            if network.example is not None
            else ""
        )
        raise LayerwiseError(
            f"{network.name} does not run on inputs of shape {shapes(inputs)} "
            f"({type(error).__name__}: {reason}){made}"
        ) from error


def require_inputs(inputs: Inputs) -> int:
    """Refuse a batch without samples, or with values that are not finite; count its samples.

    Args:
        inputs: a batch.

    Raises:
        LayerwiseError: says what is wrong.
    """
    tensors = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
    for name, value in tensors.items():
        if len(value) == 0:
            raise LayerwiseError(f"the {name} hold no samples; give at least one")
        if value.is_floating_point():
            require_finite(value, name)
    return len(next(iter(tensors.values())))


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some samples of a batch, in order.

    Args:
        inputs: a batch.
        start: the first that is taken.
        stop: the first that is not.
    """
    if isinstance(inputs, Mapping):
        return {name: value[start:stop] for name, value in inputs.items()}
    return inputs[start:stop]
