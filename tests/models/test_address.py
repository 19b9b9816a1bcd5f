"""Addresses: written as read, and followed into nested outputs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from layerwise.models._address import Address, pick, put, tensors


@given(
    module=st.from_regex(r"[a-z_]\w{0,5}(\.\w{1,5}){0,3}", fullmatch=True),
    call=st.none() | st.integers(1, 99),
    inward=st.booleans(),
    path=st.lists(st.integers(0, 9) | st.from_regex(r"[a-z_]{1,8}", fullmatch=True), max_size=3),
)
def test_every_address_is_read_as_it_was_written(module, call, inward, path):
    address = Address(module, call, inward, tuple(path))
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["a@0", "a@", "a:out", "a[", "a[x]", "a[1:2]", "", "a b[1", "@2"])
def test_what_is_no_address_is_not_read(text):
    assert Address.parse(text) is None


@dataclass
class Pair:
    first: torch.Tensor
    rest: tuple[torch.Tensor, ...]


def test_nested_values_keep_their_types_when_an_element_is_replaced():
    a, b, c = (torch.full((2,), float(i)) for i in range(3))
    value = OrderedDict(state=Pair(a, (b, c)), count=torch.tensor(3))
    assert [path for path, _ in tensors(value)] == [
        ("state", "first"),
        ("state", "rest", 0),
        ("state", "rest", 1),
    ]
    changed = put(value, ("state", "rest", 1), a)
    assert isinstance(changed, OrderedDict)
    assert isinstance(changed["state"], Pair)
    assert pick(changed, ("state", "rest", 1)) is a
    assert pick(value, ("state", "rest", 1)) is c
