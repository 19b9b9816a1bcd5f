"""What a network is made of, in words that build it again without its weights and without pickle.

Networks of timm, torchvision and transformers are described by a name or a configuration; whether
that builds the same tensors is tried at once. A module of the user's own has no such description:
whoever loads its weights must bring it along.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._checkpoint import head_size
from layerwise.models._network import Network
from layerwise.models._quiet import quiet
from layerwise.models._seeded import seeded
from layerwise.models._timm import find_timm
from layerwise.models._torchvision import find_torchvision
from layerwise.models._towers import one_side, parted, side_of

_ATTENTION = "_attn_implementation"


@final
@dataclass(frozen=True)
class Architecture:
    """How to build a network with random weights.

    Args:
        library: `timm`, `torchvision` or `transformers`.
        name: of the architecture, or of the class, and the side of it that is meant.
        classes: of its head, where they differ from the published ones.
        config: of a network of transformers, as JSON.
        extra: addresses of what comes with the architecture and is not in the network.
    """

    library: str
    name: str
    classes: int | None = None
    config: str = ""
    extra: tuple[str, ...] = ()

    @classmethod
    def of(cls, network: Network) -> Architecture | None:
        """Describe a network; None where no description builds it again.

        Example:
            >>> import torch, layerwise
            >>> own = layerwise.open(nn.Sequential(nn.Linear(2, 2)), example=torch.zeros(1, 2))
            >>> Architecture.of(own) is None
            True
        """
        found = _described(network)
        if found is None:
            return None
        state, built = network.module.state_dict(), found.outline()
        there = built.state_dict()
        classes = head_size(built, state)
        if classes is not None and found.library != "transformers":
            found = cls(found.library, found.name, classes)
            built = found.outline()
            there = built.state_dict()
        if any(name not in there or there[name].shape != v.shape for name, v in state.items()):
            return None
        extra = _extra(built, set(state))
        return cls(found.library, found.name, found.classes, found.config, extra)

    def outline(self) -> nn.Module:
        """The network without any numbers, where it can be had so, which is faster."""
        try:
            with torch.device("meta"):
                return self.build()
        except Exception:  # some constructors compute with their numbers
            return self.build()

    def build(self) -> nn.Module:
        """The network with random weights, on the CPU, in evaluation mode.

        Raises:
            LayerwiseError: this installation does not know the architecture.
        """
        if self.library == "timm":
            return find_timm(self.name, random=True, classes=self.classes).module
        if self.library == "torchvision":
            return find_torchvision(self.name, random=True, classes=self.classes).module
        return _of_transformers(self.name, json.loads(self.config))


def _described(network: Network) -> Architecture | None:
    module: Any = network.module
    side = side_of(module)
    if side:
        module = module.both
    library = type(module).__module__.partition(".")[0]
    if library == "timm":
        return Architecture("timm", str(module.pretrained_cfg["architecture"]))
    if library == "transformers":
        config = {**module.config.to_dict(), _ATTENTION: module.config._attn_implementation}
        name = f"{type(module).__name__}{side}"
        return Architecture("transformers", name, config=json.dumps(config, sort_keys=True))
    address = network.source.partition("@")[0].removeprefix("random:")
    if library == "torchvision" and address.startswith("torchvision:"):
        return Architecture("torchvision", address.removeprefix("torchvision:"))
    return None


def _of_transformers(name: str, said: dict[str, Any]) -> nn.Module:
    import transformers

    name, side = parted(name)
    kind: Any = getattr(transformers, name, None)
    try:
        with quiet(), seeded():
            attention = said.pop(_ATTENTION, None)
            config = kind.config_class.from_dict(said)
            config._attn_implementation = attention
            whole = kind(config).float()
            return (one_side(whole, side) if side else whole).eval()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LayerwiseError(
            f"this transformers {transformers.__version__} cannot build {name}: {reason}; install "
            "the version that the card names"
        ) from error


def _extra(built: nn.Module, known: set[str]) -> tuple[str, ...]:
    """The outermost modules of which the network has no tensor."""

    def walk(module: nn.Module, path: str) -> list[str]:
        found = []
        for name, child in module.named_children():
            here = f"{path}{name}"
            own = {f"{here}.{key}" for key in child.state_dict()}
            if own and not own & known:
                found.append(here)
            elif own - known:
                found += walk(child, f"{here}.")
        return found

    return tuple(walk(built, ""))
