"""A network with all that is needed to run it on a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models._layers import Layers
from layerwise.models._trace import trace

Inputs = Tensor | Mapping[str, Tensor]
"""A batch: a tensor `[n ...]`, or tensors by the names of the forward's arguments."""


@final
class Network:
    """A network, how to feed it, and the list of its layers.

    Build one with `layerwise.open`.

    Args:
        module: the network itself; it is never changed.
        name: short name for tables and files.
        modality: what one sample is: `image` (PIL), `text` (str) or `tensor`.
        prepare: turns one sample into a tensor or a dict of tensors, without batch axis. It is
            picklable, and its `repr` says all that it does.
        collate: joins prepared samples into a batch.
        example: a batch of one, for the traced forward; without it the first batch that is read.
        card: what the network is, where its weights come from, what is known about them.
        source: the words that open it again.
        layers: where they are known already; they are not traced then.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        modality: Literal["image", "text", "tensor"],
        prepare: Callable[[Any], Any],
        collate: Callable[[Sequence[Any]], Inputs],
        example: Inputs | None = None,
        card: str = "",
        source: str = "",
        layers: Layers | None = None,
    ) -> None:
        self.module = module
        self.name = name
        self.modality = modality
        self.prepare = prepare
        self.collate = collate
        self.example = example
        self.card = card
        self.source = source or name
        if layers is not None:
            self.__dict__["layers"] = layers

    def __call__(self, inputs: Inputs) -> Any:
        """Run the module as it is; `read` in `layerwise.taps` is what restores and stops."""
        return self.module(**inputs) if isinstance(inputs, Mapping) else self.module(inputs)

    @cached_property
    def layers(self) -> Layers:
        """Every layer in the order of execution, from a traced forward of the example.

        Raises:
            LayerwiseError: there is no example yet, or the network cannot run it.
        """
        if self.example is None:
            raise LayerwiseError(
                f"the layers of {self.name} are found by running it, and it has no example yet; "
                f"open it with example=, a batch of one, or read a batch first"
            )
        return trace(self.module, self.example)

    @property
    def known_layers(self) -> Layers | None:
        """The layers, if the network was traced already; they do not depend on its weights."""
        return self.__dict__.get("layers")

    def take_example(self, inputs: Inputs) -> None:
        """Let a batch be the example where none was given."""
        if self.example is None:
            self.example = inputs

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over names, types, shapes and bytes of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, value in sorted(self.module.state_dict().items()):
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def batch(self, prepared: Sequence[Any]) -> Inputs:
        """Join prepared samples into a batch on the network's device."""
        inputs = self.collate(prepared)
        if isinstance(inputs, Mapping):
            return {name: value.to(self.device) for name, value in inputs.items()}
        return inputs.to(self.device)
