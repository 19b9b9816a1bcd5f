"""The address of a layer, written once and understood in every room.

`encoder.layer.3` is a module; `@2` its second call, `:in` what flows into it instead of out of it,
`[1]` or `['key']` one element of what it returns. The whole network is `.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, final

from torch import Tensor

_GRAMMAR = re.compile(
    r"(?P<module>[^@:\[\]]+)(?:@(?P<call>[1-9]\d*))?(?P<port>:in)?(?P<path>(?:\[[^\]]+\])*)"
)
_STEP = re.compile(r"\[(?:(\d+)|'([^']+)')\]")

Path = tuple[int | str, ...]
"""Steps into nested outputs: indices of tuples, keys of dicts, names of dataclass fields."""


@final
@dataclass(frozen=True)
class Address:
    """One tensor that flows through a network.

    Args:
        module: module path, `.` for the whole network.
        call: which call of the module, from 1.
        inward: what flows into the module instead of what flows out.
        path: which element of a nested output, empty where the output is a tensor.
    """

    module: str
    call: int | None = None
    inward: bool = False
    path: Path = ()

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Read an address; None where the text is not one.

        Example:
            >>> Address.parse("lstm@2[1][0]")
            Address(module='lstm', call=2, inward=False, path=(1, 0))
            >>> Address.parse("blocks[3:9]") is None
            True
        """
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            return None
        steps = _STEP.findall(match["path"])
        if "".join(f"[{i}]" if i else f"['{k}']" for i, k in steps) != match["path"]:
            return None
        path = tuple(int(i) if i else k for i, k in steps)
        call = int(match["call"]) if match["call"] else None
        return cls(match["module"], call, match["port"] is not None, path)

    def __str__(self) -> str:
        call = f"@{self.call}" if self.call else ""
        path = "".join(f"[{step!r}]" for step in self.path)
        return f"{self.module}{call}{':in' if self.inward else ''}{path}"


def module_of(address: str) -> str:
    """The path of the module that an address belongs to.

    Example:
        >>> module_of("lstm@2[1][0]")
        'lstm'
    """
    parsed = Address.parse(address)
    assert parsed is not None
    return parsed.module


def tensors(value: Any, path: Path = ()) -> list[tuple[Path, Tensor]]:
    """Every floating-point tensor in a nested value, with the way to it.

    Example:
        >>> import torch
        >>> [path for path, _ in tensors((torch.zeros(1), {"a": torch.zeros(1)}))]
        [(0,), (1, 'a')]
    """
    if isinstance(value, Tensor):
        return [(path, value)] if value.is_floating_point() else []
    return [found for step, part in _parts(value) for found in tensors(part, (*path, step))]


def pick(value: Any, path: Path) -> Any:
    """Follow a path into a nested value.

    Raises:
        KeyError: the value has no such element.
    """
    for step in path:
        parts = dict(_parts(value))
        value = parts[step]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """Copy of a nested value with the element at a path replaced; its types stay as they are."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    parts = dict(_parts(value))
    parts[step] = put(parts[step], rest, new)
    if isinstance(value, Mapping):
        return type(value)(parts)  # type: ignore[call-arg]
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**parts)  # type: ignore[arg-type]
    if hasattr(value, "_fields"):  # a named tuple takes its fields one by one
        return type(value)(*parts.values())
    return type(value)(parts.values())


def _parts(value: Any) -> list[tuple[int | str, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(enumerate(value))
    return []
