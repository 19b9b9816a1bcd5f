"""Listening to a network: one brick under tracing, reading and editing.

Ordinary forward hooks see what flows out of a module after everybody else's hooks. They stay silent
where a forward is called directly (`layer.forward(x)`); for those modules the instance's `forward`
is wrapped for the time of listening. Compiled modules run eagerly meanwhile, because a hook that
is added after the first compiled call never fires.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Enter = Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]
Exit = Callable[[Any], Any]
"""Called with the output; what it returns, unless None, flows on in its place."""

WRAPPED = ("_orig_mod", "_cut")
"""Names under which `torch.compile` and `taps.cut` hold a module: no step of an address."""


def named_modules(root: nn.Module) -> dict[str, nn.Module]:
    """Every module by its address, aliases included; the root is `.`.

    Wrappers of `torch.compile` and `taps.cut` leave no trace in the names.
    """
    found: dict[str, nn.Module] = {}
    for name, module in root.named_modules(remove_duplicate=False):
        if not is_compiled_wrapper(module):
            steps = [step for step in name.split(".") if step not in WRAPPED]
            found[".".join(steps) or "."] = module
    return found


def is_compiled_wrapper(module: nn.Module) -> bool:
    """Whether a module is what `torch.compile` returns; asked by name, to spare its import."""
    return type(module).__name__ == "OptimizedModule"


@contextmanager
def listening(
    module: nn.Module, *, enter: Enter | None, leave: Exit, direct: bool
) -> Iterator[None]:
    """Call `enter` before and `leave` after every run of a module, and leave no hook behind.

    Args:
        module: what to listen to.
        enter: gets positional and keyword arguments, may return others.
        leave: gets the output, may return another.
        direct: wrap the instance's `forward`, for modules that are not run through a call.
    """
    with ExitStack() as stack:
        if direct:
            stack.enter_context(_wrapped_forward(module, enter, leave))
        else:
            if enter is not None:
                before = enter
                hook = module.register_forward_pre_hook(
                    lambda _, args, kwargs: before(args, kwargs), with_kwargs=True
                )
                stack.callback(hook.remove)
            stack.callback(module.register_forward_hook(lambda _, __, out: leave(out)).remove)
        yield


@contextmanager
def _wrapped_forward(module: nn.Module, enter: Enter | None, leave: Exit) -> Iterator[None]:
    own = module.__dict__.get("forward")
    original = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        changed = enter(args, kwargs) if enter is not None else None
        args, kwargs = changed or (args, kwargs)
        output = original(*args, **kwargs)
        other = leave(output)
        return output if other is None else other

    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


@contextmanager
def at_rest(root: nn.Module) -> Iterator[None]:
    """Evaluation mode, no graph, eager; every flag and random state as before afterwards."""
    modes = [(module, module.training) for module in root.modules()]
    changed = any(training for _, training in modes)
    # An outer inference mode is left: its tensors carry no version to notice a change in place by.
    with unchanged_random_state(root), eager(root), torch.inference_mode(False), torch.no_grad():
        if changed:
            root.eval()
        try:
            yield
        finally:
            if changed:
                for module, training in modes:
                    module.training = training


@contextmanager
def unchanged_random_state(root: nn.Module) -> Iterator[None]:
    """Put the global random states of torch, NumPy and Python back afterwards."""
    devices = {p.device.index for p in root.parameters() if p.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def eager(root: nn.Module) -> AbstractContextManager[Any]:
    """Run compiled modules eagerly where there are any."""
    compiled = any(
        is_compiled_wrapper(module) or module._compiled_call_impl is not None
        for module in root.modules()
    )
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def run(root: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Any:
    """Run a module on a batch that is a tensor or its keyword arguments."""
    return root(**inputs) if isinstance(inputs, Mapping) else root(inputs)


def usable(inputs: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """The same batch, free of inference mode, which would refuse changes in place."""
    if isinstance(inputs, Mapping):
        return {
            name: value.clone() if value.is_inference() else value for name, value in inputs.items()
        }
    return inputs.clone() if inputs.is_inference() else inputs


def unique(modules: Iterable[tuple[str, nn.Module]]) -> dict[str, nn.Module]:
    """The first name of each module, in order."""
    seen: set[int] = set()
    return {n: m for n, m in modules if id(m) not in seen and not seen.add(id(m))}  # type: ignore[func-returns-value]
