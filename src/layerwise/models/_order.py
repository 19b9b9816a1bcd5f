"""Do the tokens of a picture lie on their grid row by row?

That their number fits does not say so: some networks sort tokens by window. One corner of the
example is changed, and the tokens that change most must lie in that corner of the grid. It is tried
on whole blocks, whose skips keep a change in its place (measured on ten architectures: at least
0.78 of the tokens that change most, and 0.25 where they are sorted); attention alone may carry it
anywhere. From the first block that is out of order on, that grid is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn

from layerwise.models._address import Address, pick
from layerwise.models._examples import Inputs, repeated
from layerwise.models._hooks import at_rest, listening, named_modules, run, usable
from layerwise.models._layer import Layer
from layerwise.models._layouts import Grid

_AGREE = 0.5
"""Least share of the changed tokens that lie in the corner; sorted tokens come to a quarter."""

_WHOLE = ("stem", "block", "stage", "final")


def without_false_grids(
    root: nn.Module, example: Inputs, layers: Sequence[Layer]
) -> dict[str, Layer]:
    """Layers whose tokens do not lie row by row, without their grid.

    Args:
        root: the network; it is left as it was.
        example: a batch of one.
        layers: all of them, in the order of execution.
    """
    gridded = [
        layer
        for layer in layers
        if layer.layout is not None and layer.layout.form == "tokens" and layer.layout.grid
    ]
    if not gridded or not isinstance(example, Tensor) or example.ndim != 4:
        return {}
    one = repeated(example, 1)
    assert isinstance(one, Tensor)
    tried = [layer for layer in gridded if layer.kind in _WHOLE]
    spread = _spread(root, one, tried)
    false: dict[Grid, int] = {}
    for layer in tried:
        if not _in_order(spread.get(layer.name), _grid(layer)):
            false.setdefault(_grid(layer), layer.position)
    return {
        layer.name: replace(layer, layout=replace(layer.sure, grid=None))
        for layer in gridded
        if layer.position >= false.get(_grid(layer), layer.position + 1)
    }


def _grid(layer: Layer) -> Grid:
    assert layer.sure.grid is not None
    return layer.sure.grid


def _spread(root: nn.Module, one: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """By how much each token of some layers changes with the corner of the picture."""
    high, wide = one.shape[2] // 2, one.shape[3] // 2
    other = one.clone()
    noise = torch.randn(other[:, :, :high, :wide].shape, generator=torch.Generator().manual_seed(0))
    other[:, :, :high, :wide] += noise.to(other)
    seen: list[dict[str, Tensor]] = []
    with at_rest(root), ExitStack() as stack:
        modules = named_modules(root)
        for layer in layers:
            address = Address.parse(layer.name)
            assert address is not None

            def keep(output: object, name: str = layer.name, at: Address = address) -> None:
                if name not in seen[-1]:
                    seen[-1][name] = pick(output, at.path).clone()

            stack.enter_context(
                listening(modules[address.module], enter=None, leave=keep, direct=layer.direct)
            )
        for inputs in (one, other):
            seen.append({})
            run(root, usable(inputs))
    changes = {}
    for layer in layers:
        values = [layer.sure.standard(found[layer.name]) for found in seen if layer.name in found]
        if len(values) == 2:
            changes[layer.name] = (values[0] - values[1])[0, layer.sure.prefix :].norm(dim=1)
    return changes


def _in_order(change: Tensor | None, grid: Grid) -> bool:
    """Whether the tokens that change most lie in the corner; where nothing is told, they may."""
    if change is None or len(change) != grid[0] * grid[1] or not bool(change.isfinite().all()):
        return True
    corner = torch.zeros(grid, dtype=torch.bool)
    corner[: grid[0] // 2, : grid[1] // 2] = True
    count = int(corner.sum())
    if count == 0 or float(change.max()) == 0:
        return len(change) == 1 or count > 0
    return bool(corner.flatten()[change.cpu().topk(count).indices].float().mean() >= _AGREE)
