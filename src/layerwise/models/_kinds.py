"""What a module is, told from its class: the words of `kind:` in a pattern."""

from __future__ import annotations

import re

from torch import nn

# Ours: names of classes across timm, transformers and torchvision follow these habits. The first
# rule that fits wins, so the more special ones stand above.
_NAMES = (
    ("embedding", r"embed(ding)?s?$|^patchembed|^stem"),
    ("norm", r"norm(2d|3d|act2d)?$|^(batch|layer|group|instance|rms)norm|frozenbatchnorm"),
    ("attention", r"attention|attn|^mha$"),
    ("mlp", r"mlp|ffn|feedforward|swiglu|experts?$|densereludense|densegatedact"),
    ("pool", r"pool"),
    ("conv", r"^conv(nd|\d?d)?|conv2d|^downsample|transition|patchmerging"),
    ("head", r"head$|classifier"),
)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_MIXERS = (nn.Linear, nn.Bilinear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


def kind_of(module: nn.Module) -> str:
    """Name the kind of one module.

    Example:
        >>> kind_of(nn.Conv2d(3, 8, 3)), kind_of(nn.GELU()), kind_of(nn.BatchNorm2d(8))
        ('conv', 'activation', 'norm')
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        return "conv"
    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if type(module).__module__ == "torch.nn.modules.activation" and not isinstance(
        module, nn.MultiheadAttention
    ):
        return "activation"
    name = type(module).__name__.lower()
    for kind, pattern in _NAMES:
        if re.search(pattern, name):
            return kind
    if name.endswith(("activation", "gelu", "relu", "silu", "swish", "sigmoid")):
        return "activation"
    return "other"


def is_container(module: nn.Module) -> bool:
    """Whether a module only holds others and has no forward of its own."""
    return isinstance(module, _CONTAINERS) and type(module).forward in (
        nn.Sequential.forward,
        nn.Module.forward,
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether a module holds no others."""
    return next(module.children(), None) is None


def mixers(module: nn.Module) -> int:
    """How many modules in here mix channels or places: convolutions, linear maps, attention."""
    return sum(
        isinstance(part, (*_MIXERS, nn.modules.conv._ConvNd)) or type(part).__name__ == "Conv1D"
        for part in module.modules()
    )


def channel_axis(module: nn.Module, ndim: int) -> int | None:
    """Axis on which a leaf puts its channels by definition, where its class says so."""
    first = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
    if isinstance(module, first):
        return 1
    if isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm | nn.RMSNorm):
        return ndim - 1
    return None
