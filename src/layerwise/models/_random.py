"""The same architecture with random weights: what a layer gives before anything was learnt.

A module that knows how to draw its weights does so. All other parameters, and those it would set to
a constant, such as position embeddings, norms and layer scales, keep their values and lose their
order: the entries are permuted within each tensor. Batch norm then measures its statistics anew on
one batch, layer after layer in one forward, so that activations neither vanish nor explode however
deep the network is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerwise.errors import LayerwiseError
from layerwise.models._hooks import at_rest, run, unchanged_random_state
from layerwise.models._network import Inputs, Network


def randomised(network: Network, *, seed: int = 0, inputs: Inputs | None = None) -> Network:
    """A copy of a network with random weights; the network itself stays as it is.

    Args:
        network: whose architecture is kept.
        seed: another one gives other weights.
        inputs: a batch of real samples for the statistics of batch norm; the default is the
            network's example.

    Raises:
        LayerwiseError: batch norm has nothing to measure, or its statistics are not finite.

    Example:
        >>> from layerwise.models import open
        >>> network = open(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)))
        >>> control = randomised(network, inputs=torch.arange(12.0).view(4, 3))
        >>> torch.equal(control.module[0].weight, network.module[0].weight)
        False
    """
    module = copy.deepcopy(network.module)
    with unchanged_random_state(module), torch.no_grad():
        torch.manual_seed(seed)
        _draw(module)
    _measure(module, network.example if inputs is None else inputs)
    return Network(
        module,
        name=f"{network.name}-random",
        modality=network.modality,
        prepare=network.prepare,
        collate=network.collate,
        example=network.example,
        card=f"{network.name} with random weights (seed {seed}), as a control.",
        source=f"randomised({network.source}, seed={seed})",
        layers=network.known_layers,
    )


def _draw(module: nn.Module) -> None:
    before = [parameter.clone() for parameter in module.parameters()]
    for part in module.modules():
        reset: Callable[[], Any] | None = getattr(part, "reset_parameters", None)
        if reset is not None:
            reset()
    for parameter, old in zip(module.parameters(), before, strict=True):
        if torch.equal(parameter, old) or (_constant(parameter) and not _constant(old)):
            parameter.copy_(_permuted(old))


def _constant(tensor: Tensor) -> bool:
    return bool((tensor == tensor.flatten()[:1]).all())


def _permuted(tensor: Tensor) -> Tensor:
    order = torch.randperm(tensor.numel()).to(tensor.device)
    return tensor.flatten()[order].view_as(tensor)


def _measure(module: nn.Module, inputs: Inputs | None) -> None:
    """Let every batch norm take its statistics from one batch."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    if inputs is None:
        raise LayerwiseError("batch norm needs a batch to measure: give randomised(..., inputs=)")
    momenta = [norm.momentum for norm in norms]
    with at_rest(module):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        try:
            run(module, inputs)
        except ValueError as error:
            raise LayerwiseError(
                f"batch norm cannot measure this batch ({error}); give more samples in inputs="
            ) from error
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
    if not all(torch.isfinite(n.running_var).all() for n in norms if n.running_var is not None):
        raise LayerwiseError("with random weights the activations of this network are not finite")
