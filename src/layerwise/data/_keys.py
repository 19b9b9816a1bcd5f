"""Keys made from content: equal keys mean equal samples, in every run and on every machine.

A key is a BLAKE2b digest of 16 bytes in hexadecimal. Where the same content comes again in one set
of samples, the second occurrence is called `digest#2`, the third `digest#3`, so that keys stay
different from each other while `content` still says which samples are equal.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

_SIZE = 16


def digest(*parts: bytes) -> str:
    """Hash bytes. Parts count as separate: their lengths are hashed with them.

    Example:
        >>> digest(b"ab", b"c") == digest(b"a", b"bc")
        False
    """
    if len(parts) == 1:
        return hashlib.blake2b(parts[0], digest_size=_SIZE).hexdigest()
    whole = hashlib.blake2b(digest_size=_SIZE)
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()


def text_digest(text: str) -> str:
    """Hash a text by its UTF-8 bytes."""
    return digest(text.encode("utf-8", "surrogatepass"))


def tensor_digest(tensor: Tensor) -> str:
    """Hash a tensor by its type, shape and bytes."""
    head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return digest(head, flat.view(torch.uint8).numpy().tobytes())


def numbered(digests: Iterable[str]) -> tuple[str, ...]:
    """Make keys of digests: equal contents are told apart by their number.

    Example:
        >>> numbered(["aa", "bb", "aa"])
        ('aa', 'bb', 'aa#2')
    """
    seen: Counter[str] = Counter()
    keys = []
    for each in digests:
        seen[each] += 1
        keys.append(each if seen[each] == 1 else f"{each}#{seen[each]}")
    return tuple(keys)


def content(key: str) -> str:
    """What a key says about the content alone.

    Example:
        >>> content("aa#2")
        'aa'
    """
    return key.partition("#")[0]
