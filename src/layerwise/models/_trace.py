"""The audit of a network and the list of its layers, from a few forwards of one example.

A forward with two samples is written down with every tensor; one with three samples and one with
samples of another size give the evidence for the axes; one more counts operations. For every layer
this tells whether it ran, how often, what its axes mean, whether it was changed in place
afterwards, and what it costs. What it cannot vouch for keeps its place in the list with the reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._address import Address
from layerwise.models._blocks import outline
from layerwise.models._examples import Inputs, has_places, repeated, resized, shapes
from layerwise.models._hooks import named_modules, unique
from layerwise.models._kinds import channel_axis, kind_of
from layerwise.models._layer import Layer, Layout
from layerwise.models._layers import Layers
from layerwise.models._layouts import Evidence, Grid, decide
from layerwise.models._order import without_false_grids
from layerwise.models._record import Call, Flow, Recording, called_directly, record

_TIMED = 3

_SILENT = (
    "it did not run in the traced forward: it only holds other modules, a fused operation stands "
    "in for it, or this input does not need it"
)


def trace(root: nn.Module, example: Inputs) -> Layers:
    """List every layer that runs on an example.

    Args:
        root: the network; it is left as it was.
        example: a batch of one.

    Raises:
        LayerwiseError: the network cannot run the example.
    """
    two = repeated(example, 2)
    try:
        direct = called_directly(root, repeated(example, 1))
        main = record(root, two, direct=direct, keep=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise LayerwiseError(
            f"the network does not run on its example of shape {shapes(example)} "
            f"({type(error).__name__}: {reason}); give one it was made for with example="
        ) from error
    others = [repeated(example, 3), *resized(two)]
    tried = [_attempt(root, inputs, direct) for inputs in others]
    listing = _Listing(
        modules=unique(named_modules(root).items()),
        direct=direct,
        main=main,
        three=tried[0],
        other=next((found for found in tried[1:] if found is not None), None),
        places=has_places(example),
    )
    counted = record(root, repeated(example, 1), direct=direct, flops=True)
    timed = [record(root, two, direct=direct) for _ in range(_TIMED)]
    costs = _Costs(listing.modules, main, counted, timed)
    return listing.layers(costs, named_modules(root), root, example)


def _attempt(root: nn.Module, inputs: Inputs, direct: set[str]) -> Recording | None:
    try:
        return record(root, inputs, direct=direct)
    except Exception:  # a network may refuse a size in any way; then there is no evidence from it
        return None


class _Listing:
    """All recordings side by side; turns each tensor of the main one into a layer."""

    def __init__(
        self,
        *,
        modules: dict[str, nn.Module],
        direct: set[str],
        main: Recording,
        three: Recording | None,
        other: Recording | None,
        places: bool,
    ) -> None:
        self.modules, self.direct, self.main, self.places = modules, direct, main, places
        self.three, self.other = _by_unit(three), _by_unit(other)
        self.times = [_times(run) for run in (main, three, other) if run is not None]
        self.outline = outline(modules, main)
        self.hints = _Hints(modules, main)
        self.grids: list[tuple[Grid, Grid | None]] = []

    def layers(
        self, costs: _Costs, aliases: Mapping[str, nn.Module], root: nn.Module, example: Inputs
    ) -> Layers:
        outward: list[Layer] = []
        inward: dict[str, Layer] = {}
        for position, call in enumerate(self.main.calls):
            for flow in call.inputs:
                layer = self._layer(call, flow, True, position, costs)
                inward[layer.name] = layer
            for flow in call.outputs:
                outward.append(self._layer(call, flow, False, position, costs))
                self._note_grid(call, flow, outward[-1])
        names = {id(module): name for name, module in self.modules.items()}
        same = {alias: names[id(module)] for alias, module in aliases.items()}
        silent = dict.fromkeys(self.modules.keys() - self.times[0].keys(), _SILENT)
        known = _by_shape([*outward, *inward.values()])
        settled = [_settled(layer, known) for layer in outward]
        false = without_false_grids(root, example, settled)
        grids = {layer.layout.grid for layer in settled if layer.name in false and layer.layout}
        return Layers(
            [false.get(layer.name, layer) for layer in settled],
            {name: _off(_settled(layer, known), grids) for name, layer in inward.items()},
            same,
            silent,
        )

    def _layer(self, call: Call, flow: Flow, inward: bool, position: int, costs: _Costs) -> Layer:
        module = self.modules[call.module]
        layout, doubt = decide(self._evidence(call, flow, inward))
        if len({times[call.module] for times in self.times}) > 1:
            layout, doubt = None, "it does not run equally often for every input"
        calls = self.times[0][call.module]
        cost = costs.of(call, inward)
        return Layer(
            name=str(Address(call.module, call.index if calls > 1 else None, inward, flow.path)),
            kind=self._kind(call, flow, inward),
            position=position,
            module=type(module).__name__,
            shape=_one(flow.shape, layout.batch if layout else 0),
            layout=layout,
            doubt=doubt,
            calls=calls,
            parameters=costs.parameters[call.module],
            parameters_before=cost.parameters,
            flops=cost.flops,
            flops_before=cost.flops_before,
            share=cost.share,
            share_before=cost.share_before,
            overwritten=flow.overwritten,
            direct=call.module in self.direct,
        )

    def _kind(self, call: Call, flow: Flow, inward: bool) -> str:
        """The part of the first tensor that can be vouched for; others are what the class says."""
        part = self.outline.kind((call.module, call.index))
        if inward or part is None or flow is not self._main(call):
            return kind_of(self.modules[call.module])
        return part

    def _main(self, call: Call) -> Flow:
        flows = call.outputs
        sure = (f for f in flows if decide(self._evidence(call, f, False))[0] is not None)
        return flows[0] if len(flows) == 1 else next(sure, flows[0])

    def _evidence(self, call: Call, flow: Flow, inward: bool) -> Evidence:
        parameters = self.modules[call.module].parameters()
        return Evidence(
            two=flow.shape,
            three=_same_flow(self.three, call, flow, inward),
            resized=_same_flow(self.other, call, flow, inward),
            hint=self.hints.before(call.began if inward else call.ended, flow.shape),
            widths=frozenset(p.shape[0] for p in parameters if p.ndim == 1),
            grids=self.grids[::-1],
            places=self.places,
        )

    def _note_grid(self, call: Call, flow: Flow, layer: Layer) -> None:
        if layer.layout is None or layer.layout.form != "map":
            return
        axes = [axis for axis in range(4) if axis not in (layer.layout.batch, layer.layout.channel)]
        other = _same_flow(self.other, call, flow, False)
        sizes = tuple((s[axes[0]], s[axes[1]]) if s else None for s in (flow.shape, other))
        if sizes[0] is not None and (not self.grids or self.grids[-1] != sizes):
            self.grids.append((sizes[0], sizes[1]))


class _Costs:
    """What has been spent when a call begins or ends."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        main: Recording,
        counted: Recording,
        timed: list[Recording],
    ) -> None:
        sizes = {name: _sizes(module) for name, module in modules.items()}
        self.parameters = {name: sum(size.values()) for name, size in sizes.items()}
        self.counted = _by_unit(counted)
        self.shares = [_shares(run) for run in timed]
        self.spent: dict[tuple[str, int], tuple[int, int]] = {}
        self._walk(modules, main, sizes)

    def of(self, call: Call, inward: bool) -> _Cost:
        unit = (call.module, call.index)
        flops = self.counted[unit].flops if unit in self.counted else (0, 0)
        shares = [run[unit] for run in self.shares if unit in run] or [(0.0, 0.0)]
        begin, end = (median(s[side] for s in shares) for side in (0, 1))
        before = 0 if inward else 1
        return _Cost(
            self.spent[unit][before],
            flops[1] - flops[0],
            flops[before],
            max(0.0, end - begin),
            (begin, end)[before],
        )

    def _walk(
        self, modules: Mapping[str, nn.Module], main: Recording, sizes: Mapping[str, dict[int, int]]
    ) -> None:
        """Count every parameter once, with its module's own at entry and all inside at the end."""
        events = [(call.began, call, False) for call in main.calls]
        events += [(call.ended, call, True) for call in main.calls]
        used: set[int] = set()
        total = 0
        begin: dict[tuple[str, int], int] = {}
        for _, call, ended in sorted(events, key=lambda event: event[0]):
            unit = (call.module, call.index)
            if not ended:
                begin[unit] = total
            own = (
                sizes[call.module]
                if ended
                else {id(p): p.numel() for p in modules[call.module].parameters(recurse=False)}
            )
            total += sum(size for key, size in own.items() if key not in used)
            used |= own.keys()
            if ended:
                self.spent[unit] = (begin[unit], total)


class _Cost:
    def __init__(
        self, parameters: int, flops: int, flops_before: int, share: float, share_before: float
    ) -> None:
        self.parameters = parameters
        self.flops, self.flops_before = flops, flops_before
        self.share, self.share_before = min(1.0, share), min(1.0, share_before)


class _Hints:
    """Channel axes that follow from the class of a leaf, by the shape it gave and when."""

    def __init__(self, modules: Mapping[str, nn.Module], main: Recording) -> None:
        self.seen: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for call in main.calls:
            for flow in call.outputs:
                axis = channel_axis(modules[call.module], len(flow.shape))
                if axis is not None:
                    self.seen[flow.shape].append((call.ended, axis))

    def before(self, order: int, shape: tuple[int, ...]) -> int | None:
        seen = self.seen.get(shape, [])
        place = bisect_left(seen, (order + 1,))
        return seen[place - 1][1] if place else None


def _by_shape(layers: list[Layer]) -> dict[tuple[int, ...], set[Layout]]:
    known: dict[tuple[int, ...], set[Layout]] = defaultdict(set)
    for layer in layers:
        if layer.layout is not None:
            known[layer.shape].add(layer.layout)
    return known


def _settled(layer: Layer, known: Mapping[tuple[int, ...], set[Layout]]) -> Layer:
    """Settle an open layout where all other tensors of just this shape agree on theirs."""
    layouts = known.get(layer.shape, set())
    if layer.layout is not None or len(layouts) != 1:
        return layer
    return replace(layer, layout=next(iter(layouts)), doubt="")


def _off(layer: Layer, grids: set[Grid | None]) -> Layer:
    """A layer of tokens without its grid, if that is one of some."""
    if layer.layout is None or layer.layout.form != "tokens" or layer.layout.grid not in grids:
        return layer
    return replace(layer, layout=replace(layer.layout, grid=None))


def _by_unit(recording: Recording | None) -> dict[tuple[str, int], Call]:
    return {(call.module, call.index): call for call in recording.calls} if recording else {}


def _times(recording: Recording) -> Counter[str]:
    return Counter(call.module for call in recording.calls)


def _same_flow(
    run: Mapping[tuple[str, int], Call], call: Call, flow: Flow, inward: bool
) -> tuple[int, ...] | None:
    other = run.get((call.module, call.index))
    if other is None:
        return None
    flows = other.inputs if inward else other.outputs
    return next((f.shape for f in flows if f.path == flow.path), None)


def _shares(run: Recording) -> dict[tuple[str, int], tuple[float, float]]:
    start = min(call.seconds[0] for call in run.calls)
    total = max(call.seconds[1] for call in run.calls) - start or 1.0
    shares = {}
    for call in run.calls:
        began, ended = ((second - start) / total for second in call.seconds)
        shares[call.module, call.index] = (began, ended)
    return shares


def _sizes(module: nn.Module) -> dict[int, int]:
    return {id(p): p.numel() for p in module.parameters()}


def _one(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    return tuple(1 if axis == batch else size for axis, size in enumerate(shape))
