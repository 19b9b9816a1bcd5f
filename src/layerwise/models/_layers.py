"""The list of a network's layers, found by address or picked by patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import final, overload

from layerwise.errors import LayerwiseError, unknown
from layerwise.models._address import Address
from layerwise.models._layer import Layer
from layerwise.models._patterns import picked, pieces


@final
class Layers(Sequence[Layer]):
    """Every layer of a network in the order of execution.

    Patterns, joined by commas: an address; a glob, where `*` is one step of a path and `**` any
    number; `re:` and a regular expression; `50%`, the block nearest to that depth;
    `blocks[3:9]`, a range of blocks, or of the members of any module list by its path; `kind:` and
    a kind; and the words `blocks` (stem, blocks and final norm), `stages` and `all`.

    Args:
        listed: what flows out of the modules, in order.
        inward: what flows into them, by address.
        aliases: every name of every module, with the name it is listed under.
        silent: modules that did not run, with the reason.
    """

    def __init__(
        self,
        listed: Iterable[Layer],
        inward: Mapping[str, Layer] | None = None,
        aliases: Mapping[str, str] | None = None,
        silent: Mapping[str, str] | None = None,
    ) -> None:
        self._listed = tuple(listed)
        self._inward = dict(inward or {})
        self._aliases = dict(aliases or {})
        self.silent = dict(silent or {})
        self._by_name = {layer.name: layer for layer in self._listed} | self._inward
        self._by_module: dict[tuple[str, bool], list[Layer]] = {}
        for name, layer in self._by_name.items():
            address = Address.parse(name)
            assert address is not None
            self._by_module.setdefault((address.module, address.inward), []).append(layer)

    def __len__(self) -> int:
        return len(self._listed)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._listed)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...
    @overload
    def __getitem__(self, index: str) -> Layer: ...
    def __getitem__(self, index: int | slice | str) -> Layer | Sequence[Layer]:
        return self.find(index) if isinstance(index, str) else self._listed[index]

    @property
    def names(self) -> tuple[str, ...]:
        """All addresses, in order."""
        return tuple(layer.name for layer in self._listed)

    def find(self, address: str) -> Layer:
        """The layer at one address.

        Raises:
            LayerwiseError: there is none, it did not run, or the address fits several tensors.
        """
        if address in self._by_name:
            return self._by_name[address]
        parsed = Address.parse(address)
        if parsed is None:
            raise unknown("layer", address, self.names)
        parsed = replace(parsed, module=self._aliases.get(parsed.module, parsed.module))
        if str(parsed) in self._by_name:
            return self._by_name[str(parsed)]
        if parsed.module in self.silent:
            raise LayerwiseError(f"layer {address!r} cannot be read: {self.silent[parsed.module]}")
        found = self._matching(parsed)
        if len(found) == 1:
            return found[0]
        if not found:
            raise unknown("layer", address, self.names)
        choices = ", ".join(f"{layer.name} {list(layer.shape)}" for layer in found[:12])
        raise LayerwiseError(f"{address!r} could be {len(found)} tensors; say which: {choices}")

    def only(self, keep: Callable[[Layer], bool], *, why: str) -> Layers:
        """Some of the layers, under their addresses; `why` says where the others are.

        Args:
            keep: whether a layer, or what flows into one, stays.
            why: reason for modules that are left without any.
        """
        listed = [layer for layer in self._listed if keep(layer)]
        inward = {name: layer for name, layer in self._inward.items() if keep(layer)}
        stay = {_module(name) for name in (*(layer.name for layer in listed), *inward)}
        went = dict.fromkeys({_module(name) for name in self._by_name} - stay, why)
        return Layers(listed, inward, self._aliases, self.silent | went)

    def entry(self, layer: Layer) -> Layer:
        """What flows into a layer in the shape in which it flows out, for skipping it.

        Raises:
            LayerwiseError: nothing of that shape flows in.
        """
        address = Address.parse(layer.name)
        assert address is not None
        for inner in self._matching(replace(address, inward=True, path=())):
            if inner.shape == layer.shape:
                return inner
        raise LayerwiseError(
            f"layer {layer.name!r} cannot be skipped: it gives {list(layer.shape)}, and nothing of "
            f"that shape flows in"
        )

    def select(self, pattern: str | Iterable[str]) -> tuple[Layer, ...]:
        """Layers that a pattern, or any of several, picks, in the order of execution.

        Raises:
            LayerwiseError: nothing matches; the nearest names are listed.
        """
        found: dict[str, Layer] = {}
        for part in pieces(pattern):
            picks = picked(self._listed, part)
            for layer in [self.find(part)] if picks is None else picks:
                found[layer.name] = layer
        if not found:
            raise LayerwiseError("no layer was asked for; give an address, a pattern or 'blocks'")
        return tuple(sorted(found.values(), key=lambda layer: layer.position))

    def _matching(self, wanted: Address) -> list[Layer]:
        found = []
        for layer in self._by_module.get((wanted.module, wanted.inward), ()):
            address = Address.parse(layer.name)
            assert address is not None
            call = wanted.call in (None, address.call) or (wanted.call == 1 and not address.call)
            if call and address.path[: len(wanted.path)] == wanted.path:
                found.append(layer)
        return found


def _module(name: str) -> str:
    address = Address.parse(name)
    assert address is not None
    return address.module
