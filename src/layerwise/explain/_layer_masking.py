"""Layer masking: a convolutional network looks at the visible part of a picture only.

A picture painted black or grey in places is another picture, with edges that are not there. Here
the mask flows along: before a convolution hidden sites near the border are filled with the mean of
their visible neighbours, ring by ring, as often as its kernel is wide, and after it every site is
zero that saw nothing visible. A pool is the same for the mask, a mean over all places counts the
visible ones, where two branches meet a site is visible if it is in both (as in the authors' code;
the union would let one branch's zeros count as seen). What is hidden has exactly no influence.

Ours: the mask travels with the tensors themselves (torch's function mode), so no module is replaced
and any network of convolutions will do, whatever its blocks are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import require_inputs
from layerwise.explain._hide import broadcast
from layerwise.explain._target import Target
from layerwise.models import Network


@paper(
    "Towards Improved Input Masking for Convolutional Neural Networks",
    year=2023,
    arxiv="2211.14646",
    no=(176,),
)
def layer_masking(
    network: Network,
    image: Float[Tensor, "n c H W"],
    *,
    keep: Tensor | None = None,
    target: Target | None = None,
    at_once: int = 64,
) -> Float[Tensor, "n k"]:
    """Read a target off a network of convolutions that sees a part of its pictures.

    Args:
        network: the network, which is left as it was.
        image: pictures as the network takes them, of any number of channels.
        keep: 1 where a pixel is seen, else 0, `[n 1 H W]`; None shows everything.
        target: what is read; the default is what the network returns.
        at_once: pictures in one forward.

    Raises:
        LayerwiseError: `keep` has not the pictures' shape, or the network does something with its
            maps that no mask is known to follow.

    Example:
        >>> import layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(),
        ...                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 8, 8))
        >>> image, keep = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
        >>> keep[..., 4:] = 0
        >>> same = layer_masking(network, image * keep, keep=keep)
        >>> layer_masking(network, image, keep=keep).equal(same)
        True
    """
    require_inputs(image)
    target = target or Target()
    if keep is None:
        return target.read(network, image)
    seen = broadcast(keep, image).to(image.dtype)
    network.take_example(image)
    target.found(network)  # traced before a mask flows
    columns = []
    for part, mask in zip(image.split(at_once), seen.split(at_once), strict=True):
        visible = _carrying(part * mask, mask)
        with _Masks():
            columns.append(target.read(network, visible, at_once=at_once))
    return torch.cat(columns)


class _Masks(TorchFunctionMode):
    """Lets every tensor that was made of masked ones carry a mask of its own."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        masks = [mask for mask in map(_mask, _tensors(args, given)) if mask is not None]
        if not masks:
            return func(*args, **given)
        name = getattr(func, "__name__", "")
        if name in _RULES:
            return _RULES[name](func, args, given)
        output = func(*args, **given)
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim != 4:
            return output
        size = output.shape[2:]
        fits = [mask for mask in masks if mask.shape[2:] == size]
        if len(fits) == len(masks):
            return _hidden(output, torch.stack(fits).amin(0), inplace=_in_place(name))
        if size == (1, 1):
            return output
        raise LayerwiseError(
            f"no mask is known to follow {name!r} from {list(masks[0].shape[2:])} to {list(size)} "
            f"places; layer masking is for networks of convolutions, others take `covered`"
        )


def _convolved(func: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    call = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args,
                    strict=False)) | given  # fmt: skip
    value, mask, kernel = call["input"], _mask(call["input"]), tuple(call["weight"].shape[2:])
    assert mask is not None
    call["input"] = _filled(value, mask, max(kernel)) if max(kernel) > 1 else value
    output = func(**call)
    dilation = _pair(call.get("dilation", 1))
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        same = padding == "same"
        padding = [d * (k - 1) // 2 if same else 0 for d, k in zip(dilation, kernel, strict=True)]
    # An atrous kernel's padding may be wider than max pooling allows; cut out what was padded.
    rows, columns = _pair(padding)
    wide = functional.pad(mask, (columns, columns, rows, rows))
    seen = functional.max_pool2d(wide, kernel, call.get("stride", 1), 0, dilation)
    return _hidden(output, seen.clamp(min=0))


def _pooled(func: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    value, mask = args[0], _mask(args[0])
    assert mask is not None
    output = func(*args, **given)
    share = func(mask, *args[1:], **given)
    if output.shape[2:] == (1, 1):
        return output / share.clamp(min=1e-8) if "avg" in func.__name__ else output
    return _hidden(output, (share > 0).to(value.dtype))


def _averaged(func: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Any:
    value, mask = args[0], _mask(args[0])
    assert mask is not None
    dims = given.get("dim", args[1] if len(args) > 1 else None)
    dims = [dims] if isinstance(dims, int) else dims
    output = func(*args, **given)
    if dims is None or {d % value.ndim for d in dims} != {2, 3}:
        return output
    share = func(mask, *args[1:], **given)
    return output / share.clamp(min=1e-8)


def _padded(func: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    mask = _mask(args[0])
    assert mask is not None
    sides = given["pad"] if "pad" in given else args[1]
    return _carrying(func(*args, **given), functional.pad(mask, sides, value=_OUTSIDE))


_OUTSIDE = -1.0
"""In a mask, where there is no picture: neither seen nor to be filled."""

_RULES: Mapping[str, Callable[..., Any]] = {
    "conv2d": _convolved,
    "max_pool2d": _pooled,
    "avg_pool2d": _pooled,
    "adaptive_avg_pool2d": _pooled,
    "mean": _averaged,
    "pad": _padded,
}


def _filled(value: Tensor, mask: Tensor, rings: int) -> Tensor:
    """Hidden sites near visible ones take their mean, ring by ring; no gradient flows through."""
    filled, seen = value, mask.clamp(min=0)
    ones = torch.ones(1, 1, 3, 3, dtype=value.dtype, device=value.device)
    channels = ones.expand(value.shape[1], -1, -1, -1)
    with torch.no_grad():
        for _ in range(rings):
            around = functional.conv2d(seen, ones, padding=1)
            sums = functional.conv2d(filled * seen, channels, padding=1, groups=value.shape[1])
            filled = torch.where(seen > 0, filled, sums / around.clamp(min=1))
            seen = ((around > 0) & (mask != _OUTSIDE)).to(value.dtype)
        border = filled * (mask == 0)
    return value * mask.clamp(min=0) + border


def _hidden(output: Tensor, mask: Tensor, *, inplace: bool = False) -> Tensor:
    seen = mask.clamp(min=0)
    return _carrying(output.mul_(seen) if inplace else output * seen, mask)


def _carrying(value: Tensor, mask: Tensor) -> Tensor:
    value.__dict__["_layerwise_mask"] = mask
    return value


def _mask(value: Tensor) -> Tensor | None:
    return value.__dict__.get("_layerwise_mask")


def _in_place(name: str) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _tensors(args: Sequence[Any], given: Mapping[str, Any]) -> Iterator[Tensor]:
    for value in (*args, *given.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (part for part in value if isinstance(part, Tensor))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
