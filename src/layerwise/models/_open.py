"""Opens a network, whatever it is called and wherever its weights lie.

A name is looked up nowhere but where its prefix says; nothing is executed that a file brings along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._checkpoint import head_size, load_weights, read_weights
from layerwise.models._feed import Feed, Modality, Opened
from layerwise.models._huggingface import find_huggingface
from layerwise.models._network import Inputs, Network
from layerwise.models._own import own_feed, unwrapped
from layerwise.models._starters import find_starter, starters
from layerwise.models._timm import find_timm
from layerwise.models._torchvision import find_torchvision

_RANDOM = "random:"
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def open(  # noqa: A001
    source: str | nn.Module,
    *,
    example: Inputs | None = None,
    prepare: Callable[[Any], Any] | None = None,
    collate: Callable[[Sequence[Any]], Inputs] | None = None,
    name: str | None = None,
    device: str | torch.device | None = None,
    modality: str | None = None,
) -> Network:
    """Open a network.

    What `source` may be:

    - the name of a starter, as in `dinov2-small`; `starters()` lists them;
    - `timm:NAME`, `hf:NAME`, `hf:FOLDER` or `torchvision:NAME`, with the published weights;
    - `hf:NAME#image` or `hf:NAME#text`: one side of a CLIP or SigLIP, up to `joint`, their space;
    - `random:` before one of these: the architecture with random weights, always the same;
    - `NAME@FILE`, as in `timm:resnet18@model.safetensors`: the architecture with the weights of a
      safetensors file or of a checkpoint that holds only tensors;
    - a module of your own; it is used as it is, wrappers of `torch.compile` and data-parallel
      training taken off.

    Args:
        source: what to open.
        example: a batch of one, to trace the layers with, where samples are tensors.
        prepare: turns one sample into a tensor or a dict of tensors, without batch axis; a network
            that has its own preparation needs none, and a module without takes tensors.
        collate: joins prepared samples into a batch; the default stacks them.
        name: short name for tables and files.
        device: where the network goes; None is the CPU, and where it lies for a module.
        modality: what one sample is, `image`, `text` or `tensor`, where `prepare` is given.

    Raises:
        LayerwiseError: it cannot be found, fetched, read, matched or fed; the line says why.

    Example:
        >>> network = open(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), example=torch.zeros(1, 4))
        >>> network(network.batch([torch.ones(4), torch.ones(4)])).shape
        torch.Size([2, 8])
    """
    kinds: tuple[Modality, ...] = get_args(Modality)
    if modality is not None and modality not in kinds:
        raise unknown("modality", modality, kinds)
    opened = _own_module(source) if isinstance(source, nn.Module) else _named(str(source))
    own = prepare is not None or isinstance(source, nn.Module)
    feed = own_feed(prepare, modality) if own else opened.feed()
    feed = Feed(feed.modality, feed.prepare, collate or feed.collate)
    return Network(
        _placed(opened.module, device, own=isinstance(source, nn.Module)),
        name=name or opened.name,
        modality=feed.modality,
        prepare=feed.prepare,
        collate=feed.collate,
        example=feed.example() if example is None else example,
        card=opened.card,
        source=opened.name if isinstance(source, nn.Module) else str(source),
    )


def _own_module(module: nn.Module) -> Opened:
    inner = unwrapped(module)
    kind = f"{type(inner).__module__}.{type(inner).__qualname__}"
    return Opened(
        inner, type(inner).__name__, f"{kind}, a module of your own.", partial(own_feed, None, None)
    )


def _named(source: str) -> Opened:
    address, _, file = source.partition("@")
    if not file or (address.startswith("hf:") and Path(source.removeprefix("hf:")).is_dir()):
        opened = _found(source)
        return replace(opened, name=opened.name + "-random" * source.startswith(_RANDOM))
    return _filled(address, Path(file).expanduser(), source)


def _found(address: str, *, classes: int | None = None) -> Opened:
    random = address.startswith(_RANDOM)
    plain = address.removeprefix(_RANDOM)
    library, colon, name = plain.partition(":")
    if colon and library == "timm":
        return find_timm(name, random=random, classes=classes)
    if colon and library == "torchvision":
        return find_torchvision(name, random=random, classes=classes)
    if colon and library == "hf":
        return find_huggingface(name, random=random)
    if not random and plain in [starter.name for starter in starters()]:
        return find_starter(plain)
    raise _mistake(address, plain)


def _filled(address: str, file: Path, source: str) -> Opened:
    """An architecture with the weights of a file, and as many classes as the file has."""
    weights = read_weights(file)
    starts_random = address in [starter.name for starter in starters()]
    opened = _found(address if starts_random else f"{_RANDOM}{address}")
    classes = head_size(opened.module, weights)
    if classes is not None and address.startswith(("timm:", "torchvision:")):
        opened = _found(f"{_RANDOM}{address}", classes=classes)
    load_weights(opened.module, weights, source=source)
    card = f"{address} with the weights of {file.name}."
    return Opened(opened.module, f"{opened.name}@{file.stem}", card, opened.feed)


def _mistake(address: str, plain: str) -> LayerwiseError:
    path = Path(plain)
    if plain and path.is_dir():
        return LayerwiseError(f"{plain!r} is a folder; write hf:{plain} if transformers saved it")
    if path.suffix in _FILES:
        return LayerwiseError(
            f"the file {plain!r} does not say its architecture; write ARCHITECTURE@FILE, as in "
            f"timm:resnet18@{plain}"
        )
    if address.startswith(_RANDOM) and plain in [starter.name for starter in starters()]:
        return LayerwiseError(
            f"{plain} opens with its own weights; randomised(open({plain!r})) makes them random"
        )
    import timm

    known = [starter.name for starter in starters()]
    return unknown("network", plain, [*known, *(f"timm:{name}" for name in timm.list_models())])


def _placed(module: nn.Module, device: str | torch.device | None, *, own: bool) -> nn.Module:
    if device is None:
        return module
    try:
        wanted = torch.empty(0, device=device).device
        lies = next((p.device for p in module.parameters()), wanted)
        if not own:
            return module.to(wanted)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise LayerwiseError(f"device {str(device)!r} cannot be used: {reason}") from error
    if lies != wanted:
        raise LayerwiseError(
            f"the module lies on {lies} and a module of your own is never changed; move it with "
            f"module.to({str(device)!r}) first, or leave device= out"
        )
    return module
