"""What every fusion of layers keeps. Run `check` on your own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError


def check(fusion: nn.Module, layers: Mapping[str, Float[Tensor, "n _"]]) -> None:
    """Try a fitted fusion on layers.

    Every layer it was given reaches the output; samples do not feel each other; the layers and the
    global random state stay as they are; the state dict and a pickle hold all of it; a missing
    layer is refused.

    Args:
        fusion: called with layers by address, gives `[n d]`.
        layers: what the layers that it joins hold, and no others.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.fuse import FirstLast
        >>> layers = {"a": torch.randn(9, 3), "b": torch.randn(9, 3)}
        >>> check(FirstLast.fit(layers), layers)
    """
    before = {name: x.clone() for name, x in layers.items()}, torch.get_rng_state()
    fused = fusion(layers)
    assert torch.equal(fusion(layers), fused), "the same layers give different answers"
    changed = [name for name, x in layers.items() if not torch.equal(x, before[0][name])]
    assert not changed, f"layer {changed[0]!r} was changed"
    assert torch.equal(torch.get_rng_state(), before[1]), "the global random state was changed"
    one = fusion({name: x[1:2] for name, x in layers.items()})
    assert torch.allclose(one, fused[1:2], rtol=1e-4, atol=1e-5), "samples feel each other"
    again = pickle.loads(pickle.dumps(fusion))
    assert torch.equal(again(layers), fused), "pickling changes the answer"
    again.load_state_dict(fusion.state_dict())
    assert torch.equal(again(layers), fused), "the state dict changes the answer"
    for name in layers:
        _check_reach(fusion, layers, name)
    for name in layers:
        _check_refusal(fusion, [other for other in layers if other != name], layers)


def _check_reach(fusion: nn.Module, layers: Mapping[str, Tensor], name: str) -> None:
    probe = layers[name].detach().clone().requires_grad_()
    with torch.enable_grad():
        fusion({**layers, name: probe}).square().sum().backward()
    assert probe.grad is not None, f"layer {name!r} does not reach the output"
    assert bool((probe.grad != 0).any()), f"layer {name!r} does not reach the output"


def _check_refusal(fusion: nn.Module, names: Sequence[str], layers: Mapping[str, Tensor]) -> None:
    try:
        fusion({name: layers[name] for name in names})
    except LayerwiseError:
        return
    raise AssertionError("a missing layer is not refused with a LayerwiseError")
