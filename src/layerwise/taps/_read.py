"""Reading layers: just the values of the bare forward, and nothing run that was not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from layerwise.features import Features
from layerwise.features.laws import Pooling
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest, usable
from layerwise.taps._tap import Enough, Seen, tap

Inputs = Tensor | Mapping[str, Tensor]


def read(network: Network, inputs: Inputs, layers: str | Iterable[str] = "blocks") -> Features:
    """Run a batch and keep what flows out of some layers.

    The values are those of the bare forward in evaluation mode, bit for bit: what the network
    changes in place later is copied first, compiled parts run eagerly. The forward stops after the
    last layer asked for. No graph is kept; modes, flags, hooks and random states are as before.

    Args:
        network: the network.
        inputs: a batch, as `network.batch` makes it.
        layers: addresses or patterns.

    Returns:
        One tensor a layer, in its standard form.

    Raises:
        LayerwiseError: no such layer, or one whose axes nobody can vouch for.

    Example:
        >>> import torch, layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(inplace=True))
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 9, 9))
        >>> inputs = torch.randn(2, 3, 9, 9)
        >>> read(network, inputs, "0")["0"].equal(module[0](inputs))
        True
    """
    network.take_example(inputs)
    chosen = network.layers.select(layers)
    copied = {layer.name for layer in chosen if layer.overwritten}
    values, versions = _raw(network, inputs, chosen, copied)
    late = {n for n, v in values.items() if n not in copied and versions[n] != _version(v)}
    if late:  # the example did not show it, these inputs do
        values, _ = _raw(network, inputs, chosen, copied | late)
    return Features({layer.name: layer.sure.standard(values[layer.name]) for layer in chosen})


def pool(
    network: Network,
    inputs: Inputs,
    layers: str | Iterable[str],
    poolings: Mapping[str, Sequence[Pooling]] | Sequence[Pooling],
) -> dict[tuple[str, str], Tensor]:
    """Run a batch and keep pooled outputs only, made the moment they flow by.

    Memory stays at that of the bare forward: no output outlives its turn.

    Args:
        network: the network.
        inputs: a batch, with `attention_mask` where samples are padded.
        layers: addresses or patterns.
        poolings: for every layer, or for each by its address.

    Returns:
        `[n d]` in float32 or wider, by the layer's address and the pooling's name.
    """
    network.take_example(inputs)
    with pooling(network, layers, poolings) as run:
        return run(inputs)


@contextmanager
def pooling(
    network: Network,
    layers: str | Iterable[str],
    poolings: Mapping[str, Sequence[Pooling]] | Sequence[Pooling],
) -> Iterator[Callable[[Inputs], dict[tuple[str, str], Tensor]]]:
    """Hold the taps of `pool` over many batches: setting them up costs as much as a small forward.

    Args:
        network: the network; its layers are known.
        layers: addresses or patterns.
        poolings: for every layer, or for each by its address.

    Returns:
        A function from a batch to what `pool` gives for it.

    Example:
        >>> import torch, layerwise
        >>> from layerwise.features import Mean
        >>> network = layerwise.open(torch.nn.Sequential(torch.nn.Linear(4, 8)),
        ...                          example=torch.zeros(1, 4))
        >>> with pooling(network, "0", [Mean()]) as run:
        ...     [run(torch.zeros(n, 4))["0", "mean"].shape[0] for n in (2, 3)]
        [2, 3]
    """
    pooled: dict[tuple[str, str], Tensor] = {}
    mask: Tensor | None = None

    def receive(layer: Layer, value: Tensor) -> None:
        wanted = poolings[layer.name] if isinstance(poolings, Mapping) else poolings
        pooled.update(pooled_by(wanted, layer, value, mask))

    def run(inputs: Inputs) -> dict[tuple[str, str], Tensor]:
        nonlocal mask
        mask = mask_of(inputs)
        pooled.clear()
        _run(network, inputs, seen)
        return dict(pooled)

    names = [layer.name for layer in network.layers.select(layers)]
    with tap(network, names, receive, stop=True) as seen:
        yield run


def pooled_by(
    ways: Iterable[Pooling], layer: Layer, value: Tensor, mask: Tensor | None
) -> dict[tuple[str, str], Tensor]:
    """Pool what flows out of a layer, the moment it does.

    Args:
        ways: how.
        layer: the layer.
        value: its raw output.
        mask: 1 for tokens and 0 for padding, where samples are padded.

    Returns:
        `[n d]`, by the layer's address and the pooling's name.
    """
    tokens = layer.sure.tokens(layer.sure.standard(value))
    places = tokens[:, layer.sure.prefix :]
    real = mask.bool() if mask is not None and mask.shape == tokens.shape[:2] else None
    return {
        (layer.name, way.name): way(tokens if way.name == "first" else places, real) for way in ways
    }


def mask_of(inputs: Inputs) -> Tensor | None:
    """Which places of a batch are padding, where it says so."""
    return inputs.get("attention_mask") if isinstance(inputs, Mapping) else None


def _raw(
    network: Network, inputs: Inputs, layers: Sequence[Layer], copied: set[str]
) -> tuple[dict[str, Tensor], dict[str, int | None]]:
    values: dict[str, Tensor] = {}
    versions: dict[str, int | None] = {}

    def receive(layer: Layer, value: Tensor) -> None:
        kept = value.clone() if layer.name in copied or value.is_inference() else value
        values[layer.name], versions[layer.name] = kept, _version(kept)

    _forward(network, inputs, [layer.name for layer in layers], receive)
    return values, versions


def _forward(
    network: Network,
    inputs: Inputs,
    layers: Sequence[str],
    receive: Callable[[Layer, Tensor], None],
) -> None:
    with tap(network, layers, receive, stop=True) as seen:
        _run(network, inputs, seen)


def _run(network: Network, inputs: Inputs, seen: Seen) -> None:
    with at_rest(network.module):
        try:
            network(usable(inputs))
        except Enough:
            return
    seen.require_all()


def _version(value: Tensor) -> int | None:
    return None if value.is_inference() else value._version
