"""What every explanation keeps. Run `check` on your own attribution, `check_restored` on others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.models import Network, open  # noqa: A004

_SIDE, _SEEN, _CHANNELS, _CLASSES = 16, 4, 6, 3


@runtime_checkable
class Attribution(Protocol):
    """Says how much each place contributed to a chosen output."""

    def __call__(
        self, network: Network, inputs: Float[Tensor, "n 3 H W"], labels: Int[Tensor, " n"], /
    ) -> Float[Tensor, "n *c h w"]:
        """Explain pictures; the places may be coarser than the pixels."""
        ...


def check(attribute: Attribution, *, margin: int = 0, seed: int = 0) -> None:
    """Try an attribution on networks that look at a part of a picture only, or at nothing.

    No effect where the output cannot depend: there it is zero. Where the output does
    depend, it is not. Samples do not feel each other; and all that `check_restored` tries.

    Args:
        attribute: called with a network, pictures `[n 3 16 16]` and labels, gives one number or
            more for each place, `[n h w]` or `[n c h w]`.
        margin: pixels by which it may blur what it finds, as a window of that size does.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.explain import gradients
        >>> check(lambda *given: gradients(*given, layers="0").slopes["0"])
    """
    inputs, labels = _pictures(seed)
    network = _network(seed)
    found = attribute(network, inputs, labels)
    places = found.flatten(1, -3).abs().sum(1) if found.ndim > 3 else found.abs()
    assert len(places) == len(inputs), f"{len(inputs)} pictures give {len(places)} answers"
    assert bool((places.flatten(1).amax(1) > 0).all()), "what the output depends on has no effect"
    reach = -(-(_SEEN + 1 + margin) * places.shape[-1] // _SIDE)
    assert reach < places.shape[-1], f"a margin of {margin} leaves nothing of the map to look at"
    scale = float(places.max())
    # Two forwards of other sizes may differ in the last bits.
    beyond = float(places[..., reach:].max())
    assert beyond <= 1e-4 * scale, "an effect where the output cannot depend"
    nothing = _network(seed)
    nn.init.zeros_(nothing.module.get_parameter("5.weight"))
    assert not bool(attribute(nothing, inputs, labels).any()), (
        "an effect on an output that is fixed"
    )
    alone = attribute(network, inputs[1:2], labels[1:2])
    assert torch.allclose(alone, found[1:2], rtol=1e-3, atol=1e-4 * scale), (
        "samples feel each other"
    )
    check_restored(attribute, seed=seed)


def check_restored(
    explain: Callable[[Network, Float[Tensor, "n 3 H W"], Int[Tensor, " n"]], Any], *, seed: int = 0
) -> None:
    """Try that an explanation leaves everything as it was, also where the network fails.

    Weights and their `requires_grad` and `grad`, buffers, modes, hooks, the inputs, the global
    random state and the grad mode are as before.

    Args:
        explain: called with a network, pictures `[n 3 16 16]` and labels.
        seed: of the examples.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from layerwise.explain import gradients
        >>> check_restored(gradients)
    """
    inputs, labels = _pictures(seed)
    network = _network(seed)
    module = network.module
    assert isinstance(module, nn.Sequential)
    frozen, trained = module.get_parameter("0.weight"), module.get_parameter("5.weight")
    frozen.requires_grad_(False)
    trained.grad = torch.ones_like(trained)
    module[1].train()
    module[1].register_forward_hook(lambda *_: None)
    left = module[2]
    assert isinstance(left, _Left)
    layers = len(network.layers)  # the traced forward is not to fail
    for fails in (False, True):
        left.fails = fails
        before = _state(module), inputs.clone(), torch.get_rng_state(), torch.is_grad_enabled()
        try:
            explain(network, inputs, labels)
        except Exception:  # whatever it makes of the failure
            assert fails, "it fails on an ordinary network"
        else:
            assert not fails, "a network that fails was explained"
        when = "after an error" if fails else "afterwards"
        for name, old, new in zip(_NAMES, before[0], _state(module), strict=True):
            assert _same(old, new), f"{name} are not as before {when}"
        assert torch.equal(inputs, before[1]), f"the inputs were changed {when}"
        assert torch.equal(torch.get_rng_state(), before[2]), "the global random state was changed"
        assert torch.is_grad_enabled() == before[3], f"the grad mode was changed {when}"
    assert len(network.layers) == layers


@final
class _Left(nn.Module):
    """Lets only the left columns through, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    def forward(self, maps: Tensor) -> Tensor:
        if self.fails:
            raise RuntimeError("told to fail")
        seen = torch.arange(maps.shape[-1], device=maps.device) < _SEEN
        return maps * seen


def _network(seed: int) -> Network:
    """A small network of pictures that looks at their left edge only."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.utils.skip_init(nn.Conv2d, 3, _CHANNELS, 3, padding=1),
        nn.ReLU(),
        _Left(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.utils.skip_init(nn.Linear, _CHANNELS, _CLASSES),
    )
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
        module.get_parameter("5.weight").mul_(10)
    return open(module.eval(), example=torch.zeros(1, 3, _SIDE, _SIDE))


def _pictures(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, _SIDE, _SIDE, generator=generator), torch.arange(4) % _CLASSES


_NAMES = ("the weights", "their requires_grad flags", "their gradients", "the modes", "the hooks")


def _state(module: nn.Module) -> tuple[list[Any], ...]:
    weights = list(module.state_dict(keep_vars=True).values())
    return (
        [weight.detach().clone() for weight in weights],
        [weight.requires_grad for weight in weights],
        [None if weight.grad is None else weight.grad.clone() for weight in weights],
        [part.training for part in module.modules()],
        [
            (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
            for part in module.modules()
        ],
    )


def _same(old: list[Any], new: list[Any]) -> bool:
    return all(
        torch.equal(one, other)
        if isinstance(one, Tensor) and isinstance(other, Tensor)
        else one is other or one == other
        for one, other in zip(old, new, strict=True)
    )
