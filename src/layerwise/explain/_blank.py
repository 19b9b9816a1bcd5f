"""The input that says nothing, from which an explanation starts and with which a part is hidden."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from layerwise.explain._differentiable import Inputs
from layerwise.models import Network, TextPreparation


def blank(network: Network, inputs: Inputs) -> Inputs:
    """The same batch with nothing in it.

    Numbers become 0, which is the mean colour where pictures are normalised; words become padding,
    while marks of beginning and end, masks and segments stay.

    Args:
        network: whose words they are.
        inputs: a batch.

    Example:
        >>> import layerwise
        >>> network = layerwise.open(torch.nn.Linear(2, 1), example=torch.zeros(1, 2))
        >>> blank(network, torch.ones(1, 2)).tolist()
        [[0.0, 0.0]]
    """
    if isinstance(inputs, Mapping):
        return {
            name: value if "mask" in name or "type" in name else _blank(network, value)
            for name, value in inputs.items()
        }
    return _blank(network, inputs)


def _blank(network: Network, value: Tensor) -> Tensor:
    if value.is_floating_point():
        return torch.zeros_like(value)
    prepare = network.prepare
    if not isinstance(prepare, TextPreparation):
        return torch.zeros_like(value)
    marks = torch.tensor(prepare.tokenizer.all_special_ids, device=value.device)
    return torch.where(torch.isin(value, marks), value, prepare.pad)
