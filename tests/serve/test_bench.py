"""Work is done in one thread, joined, and nobody pays for another's mistake."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from layerwise.serve._bench import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(most=6)
    yield made
    made.close()


class Doubling:
    """Doubles numbers; holds the thread until it is let go, and fails on a negative one."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.go.wait(10)
        if min(items) < 0:
            raise ValueError(f"{min(items)} is negative")
        return [2 * item for item in items]


async def _all(bench: Bench, work: Doubling, asked: list[list[int]]) -> list[object]:
    """Ask the first, and all others while it is under way."""
    first = asyncio.create_task(bench.do(work, asked[0]))
    await asyncio.to_thread(work.begun.wait, 10)
    rest = [asyncio.create_task(bench.do(work, each)) for each in asked[1:]]
    await asyncio.sleep(0.05)
    work.go.set()
    return await asyncio.gather(first, *rest, return_exceptions=True)


def test_what_waits_is_joined_up_to_the_limit_and_given_back_apart(bench: Bench) -> None:
    work = Doubling()
    found = asyncio.run(_all(bench, work, [[1], [2, 3], [4], [5, 6, 7], [8]]))
    assert found == [[2], [4, 6], [8], [10, 12, 14], [16]]
    assert work.batches == [[1], [2, 3, 4, 5, 6, 7], [8]]
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_a_mistake_costs_only_whoever_made_it(bench: Bench) -> None:
    work = Doubling()
    found = asyncio.run(_all(bench, work, [[1], [2], [-3], [4]]))
    assert found[:2] == [[2], [4]]
    assert found[3] == [8]
    assert isinstance(found[2], ValueError)
    assert work.batches == [[1], [2, -3, 4], [2], [-3], [4]]


def test_other_work_is_not_joined(bench: Bench) -> None:
    async def ask() -> list[object]:
        held = asyncio.create_task(bench.do(work, [1]))
        await asyncio.to_thread(work.begun.wait, 10)
        rest = [asyncio.create_task(bench.do(each, [3, 2])) for each in (sorted, len_of, sorted)]
        await asyncio.sleep(0.05)
        work.go.set()
        return await asyncio.gather(held, *rest)

    sizes: list[int] = []

    def len_of(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return [len(items)] * len(items)

    work = Doubling()
    assert asyncio.run(ask()) == [[2], [2, 3], [2, 2], [2, 3]]
    assert sizes == [2]


def test_who_no_longer_waits_costs_nothing(bench: Bench) -> None:
    async def ask() -> None:
        held = asyncio.create_task(bench.do(work, [1]))
        await asyncio.to_thread(work.begun.wait, 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bench.do(work, [2])
        work.go.set()
        assert await held == [2]
        assert await bench.do(work, [3]) == [6]

    work = Doubling()
    asyncio.run(ask())
    assert work.batches == [[1], [3]]
