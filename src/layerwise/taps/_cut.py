"""Cutting a network after the last layer that somebody wants: the rest is gone, not only unused.

What only runs later goes, and so do its parameters and buffers (`_late.py` has the evidence); so
does the other side of a network of pictures and texts. What is left is run and compared with the
whole network, bit for bit. Where it differs or fails, gentler ways are tried: the modules stay as
shells without tensors, and at last everything stays and only the forward stops early.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Layers, Network
from layerwise.models._examples import Inputs, repeated
from layerwise.models._hooks import at_rest, named_modules, run, usable
from layerwise.models._towers import idle
from layerwise.taps._late import Runs, tensors_of
from layerwise.taps._read import read
from layerwise.taps._tap import Receive, up_to

_LAST_BITS = 100
"""Multiples of a number's precision by which sums in another order may differ."""


@final
class Gone(nn.Module):
    """Stands where a module was cut away.

    Args:
        name: address of what was here.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *_: Any, **__: Any) -> Any:
        """Refuse to run.

        Raises:
            LayerwiseError: always.
        """
        raise LayerwiseError(
            f"layer {self.name!r} was cut away, but these inputs need it; cut the network with "
            "such inputs, or read it without cutting"
        )

    def extra_repr(self) -> str:
        """What was here."""
        return repr(self.name)


@final
class Cut(nn.Module):
    """A network that ends after its last wanted layer. `cut` makes one.

    Called with a batch, it gives what the wanted layers hold, by address, in their standard form.

    Args:
        body: what is left of the network.
        layers: the wanted layers, as they were traced in the whole network.
        gone: addresses of what was cut away.
        shells: they still stand there, without tensors, because others look at them.
        note: what could not be done, in words; empty when all is well.
    """

    def __init__(
        self,
        body: nn.Module,
        layers: Sequence[Layer],
        *,
        gone: Sequence[str],
        shells: bool = False,
        note: str = "",
    ) -> None:
        super().__init__()
        self._cut = body
        self.layers = tuple(layers)
        self.gone = tuple(gone)
        self.shells = shells
        self.note = note
        self.training = body.training

    @property
    def body(self) -> nn.Module:
        """What is left of the network; it cannot run to its former end."""
        return self._cut

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Run up to the last wanted layer.

        Raises:
            LayerwiseError: the inputs need something that was cut away, or do not reach a layer.
        """
        values: dict[str, Tensor] = {}

        def keep(layer: Layer, value: Tensor) -> None:
            standard = layer.sure.standard(value)
            # What runs on may change it in place.
            values[layer.name] = standard.clone() if len(self.layers) > 1 else standard

        self.run(keep, args[0] if args else kwargs)
        return {layer.name: values[layer.name] for layer in self.layers}

    def run(self, receive: Receive, inputs: Inputs) -> None:
        """Hand the raw outputs of the wanted layers to a function as they flow by, then stop.

        Args:
            receive: called with each layer and its raw output.
            inputs: a batch.
        """
        up_to(self._cut, self.layers, receive, inputs)


def cut(
    network: Network, layers: str | Iterable[str] = "blocks", *, inputs: Inputs | None = None
) -> Network:
    """Copy a network up to its last wanted layer; everything that runs only after it is gone.

    Addresses stay the same, so that the copy can be read, pooled and edited like the whole. Called
    with a batch, it gives a dict of the wanted layers in their standard form. `module.gone` names
    what was cut away; `module.note` says so where that was not all that could be hoped for.

    Args:
        network: the network; it stays as it is.
        layers: addresses or patterns of what is wanted.
        inputs: a batch of real samples; the copy must give just what the whole network gives for
            it. Without it, the network's example.

    Raises:
        LayerwiseError: no such layer, one whose axes nobody can vouch for, or no example.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 800))
        >>> network = layerwise.open(module, example=torch.zeros(1, 4))
        >>> short = cut(network, "1")
        >>> short.module.gone, sum(p.numel() for p in short.module.parameters())
        (('2',), 40)
        >>> batch = torch.randn(3, 4)
        >>> torch.equal(short(batch)["1"], network.module[:2](batch))
        True
    """
    if inputs is not None:
        network.take_example(inputs)
    chosen = network.layers.select(layers)
    names = [layer.name for layer in chosen if layer.sure]
    assert network.example is not None
    batch = repeated(network.example, 2) if inputs is None else inputs
    runs = Runs.of(network.module, chosen, batch)
    modules = named_modules(network.module)
    late = dict(runs.late(network.module)) | {name: modules[name] for name in idle(network.module)}
    true = dict(read(network, batch, names))
    kept = network.layers.only(runs.reached, why=f"the network was cut after {names[-1]!r}")
    reasons = []
    for shells in (False, True):
        try:
            body = without(network.module, late, shells=shells)
            made = Cut(body, chosen, gone=tuple(late), shells=shells)
            values = _values(made, batch)
            if _equal(values, true) or (
                _close(values, true) and _equal(values, _values(_copied(network, chosen), batch))
            ):
                return _opened(network, made, kept)
            reasons.append("what is left gives other values")
        except Exception as error:  # a network may miss its parts in any way
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    note = f"{network.name} stops early but nothing could be removed ({reasons[-1]})"
    return _opened(network, Cut(network.module, chosen, gone=(), note=note), kept)


def without(module: nn.Module, gone: Iterable[str], *, shells: bool = False) -> nn.Module:
    """A copy of a module in which some of its parts are gone, as after `cut`.

    Args:
        module: the whole.
        gone: addresses of the parts.
        shells: leave the parts where they are, without the tensors that only they hold.

    Example:
        >>> without(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), ["1"])
        Sequential(
          (0): ReLU()
          (1): Gone('1')
        )
    """
    modules = named_modules(module)
    parts = {name: modules[name] for name in gone}
    # What a deep copy finds here it takes in the place of the thing, wherever that is referred to.
    instead: dict[int, Any] = {id(part): Gone(name) for name, part in parts.items()}
    if shells:
        instead = {id(v): None for part in parts.values() for v in tensors_of(part, inside=True)}
    return copy.deepcopy(module, instead)


def _opened(network: Network, made: Cut, layers: Layers) -> Network:
    return Network(
        made,
        name=network.name,
        modality=network.modality,
        prepare=network.prepare,
        collate=network.collate,
        example=network.example,
        card=f"{network.card} Cut after {made.layers[-1].name}.".strip(),
        source=network.source,
        layers=layers,
    )


def _values(made: Cut, batch: Inputs) -> dict[str, Tensor]:
    with at_rest(made):
        values: dict[str, Tensor] = run(made, usable(batch))
    return values


def _copied(network: Network, layers: Sequence[Layer]) -> Cut:
    """The whole network, its weights where a copy has them.

    Those that were mapped from a file lie where its header ends, and the last bits of a product
    depend on that: then even a copy of the whole gives other values than the network.
    """
    return Cut(without(network.module, ()), layers, gone=())


def _equal(values: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(values[name], value) for name, value in true.items())


def _close(values: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> bool:
    """Whether nothing but the last bits differ."""
    return all(
        float((values[name] - value).abs().max())
        <= _LAST_BITS * torch.finfo(value.dtype).eps * float(value.abs().max())
        for name, value in true.items()
    )
