"""Batches from worker processes equal those of a plain loop, and no worker's fate goes unsaid."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise import data
from layerwise.data import _worker
from layerwise.data._worker import Packed, load, pack, unpack
from layerwise.errors import LayerwiseError

TOOLS = """
import os, signal, time
import torch
from layerwise.data import Unreadable

def number(item):
    if item == "bad":
        raise Unreadable("it is bad")
    if item == "broken":
        raise OSError("the disk is gone")
    return torch.full((2,), float(item))

def doubled(sample):
    if sample[0] == 3:
        raise ValueError("three is\\nno good")
    return {"x": 2 * sample, "mask": sample > 1}

def deadly(item):
    if item > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(1)

def counted(item):
    folder, i = item
    open(os.path.join(folder, str(i)), "w").close()
    return torch.zeros(1)

def situation(sample):
    return torch.tensor([torch.get_num_threads(), torch.cuda.is_initialized(), os.getpid()])
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A module that worker processes can import."""
    (tmp_path / "tools_of_test.py").write_text(TOOLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import tools_of_test

    yield tools_of_test
    sys.modules.pop("tools_of_test")


def made(items, loader):
    names = tuple(f"item {i}" for i in range(len(items)))
    return data.Samples("tensor", "made", names, names, tuple(items), loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_bad_samples_are_set_aside(tools, workers):
    samples = made([0, 1, "bad", 2, 3, "broken", 4], tools.number)
    plan = [[6, 0], [1, 2, 3], [4, 5], [6, 6]]
    found = list(data.batches(samples, tools.doubled, plan, workers=workers))
    assert [batch.indices for batch in found] == [(6, 0), (1, 3), (), (6, 6)]
    assert [[p["x"].tolist() for p in batch.prepared] for batch in found] == [
        [[8, 8], [0, 0]],
        [[2, 2], [4, 4]],
        [],
        [[8, 8], [8, 8]],
    ]
    assert found[0].prepared[0]["mask"].dtype == torch.bool
    aside = {each.name: each.reason for batch in found for each in batch.set_aside}
    assert aside == {
        "item 2": "it is bad",
        "item 4": "cannot be prepared: ValueError: three is no good",
        "item 5": "cannot be read: OSError: the disk is gone",
    }


def test_workers_have_one_thread_and_leave_the_accelerator_alone(tools):
    samples = made(range(8), tools.number)
    found = list(data.batches(samples, tools.situation, [[i] for i in range(8)], workers=2))
    threads, cuda, processes = torch.stack([batch.prepared[0] for batch in found]).T
    assert threads.tolist() == [1] * 8
    assert not cuda.any()
    assert os.getpid() not in processes


def test_nothing_of_this_process_is_changed(tools):
    script, handler = sys.modules["__main__"], signal.getsignal(signal.SIGINT)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    list(data.batches(made(range(4), tools.number), tools.doubled, [[0], [1]], workers=1))
    assert sys.modules["__main__"] is script
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_killed_worker_is_an_error_and_no_hang(tools):
    samples = made([5] * 6, tools.deadly)
    with pytest.raises(LayerwiseError, match=r"a worker process died .*'item \d'.*killed"):
        list(data.batches(samples, torch.sum, [[0, 1], [2, 3], [4, 5]], workers=1))


def test_a_worker_killed_between_two_batches_is_an_error_too(tools):
    found = data.batches(
        made(range(9), tools.deadly), torch.sum, [[i] for i in range(9)], workers=1
    )
    assert next(found).indices == (0,)
    time.sleep(0.5)
    with pytest.raises(LayerwiseError, match="a worker process died"):
        list(found)


def test_only_a_few_batches_are_prepared_ahead(tools, tmp_path):
    (tmp_path / "seen").mkdir()
    samples = made([(str(tmp_path / "seen"), i) for i in range(40)], tools.counted)
    found = data.batches(samples, torch.sum, [[i] for i in range(40)], workers=1)
    next(found)
    time.sleep(0.5)
    assert len(list((tmp_path / "seen").iterdir())) <= 4
    found.close()
    assert len(list((tmp_path / "seen").iterdir())) <= 5


def test_what_cannot_be_sent_is_said(tools):
    samples = made(range(4), tools.number)
    with pytest.raises(LayerwiseError, match="cannot be sent to a worker process"):
        list(data.batches(samples, lambda sample: sample, [[0]], workers=1))
    assert len(list(data.batches(samples, lambda sample: sample, [[0]], workers=0))) == 1


def test_what_a_worker_cannot_import_is_said(tools, tmp_path):
    (tmp_path / "tools_of_test.py").unlink()
    importlib.invalidate_caches()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    samples = made(range(4), tools.number)
    with pytest.raises(LayerwiseError, match=r"cannot import the loader .*tools_of_test"):
        list(data.batches(samples, tools.doubled, [[0]], workers=1))


@pytest.mark.parametrize(
    "prepared",
    [
        [torch.arange(6.0).view(2, 3), torch.arange(4.0).view(4, 1), torch.tensor(7.0)],
        [{"a": torch.ones(2, dtype=torch.int64), "b": torch.zeros(0)}, {"a": torch.ones(1).bool()}],
        [torch.ones(3, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float16)],
        ["a text", 5, None, torch.ones(1)],
        [torch.arange(12.0).view(3, 4).t(), torch.ones(1, requires_grad=True)],
    ],
)
@pytest.mark.parametrize("short_of_memory", [False, True])
def test_packing_changes_nothing(prepared, short_of_memory, monkeypatch):
    monkeypatch.setattr(_worker, "_shared_memory_left", lambda: 0.0 if short_of_memory else 1e12)
    monkeypatch.setattr(_worker, "_unpickled", lambda: (lambda item: prepared[item], lambda s: s))
    packed = _worker.work(range(len(prepared)))
    assert all(isinstance(b, np.ndarray) == short_of_memory for b in packed.buffers.values())
    for (value, reason), expected in zip(unpack(packed), prepared, strict=True):
        assert reason == ""
        assert_equal(value, expected)


def assert_equal(value, expected):
    if isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for name in expected:
            assert_equal(value[name], expected[name])
    elif isinstance(expected, torch.Tensor):
        assert value.dtype == expected.dtype
        assert value.shape == expected.shape
        assert torch.equal(value, expected.detach())
    else:
        assert value == expected


def test_an_empty_batch_is_an_empty_batch():
    assert pack([]) == Packed([], {})
    assert unpack(pack([(None, "why")])) == [(None, "why")]
    samples = data.open(["a"])
    assert next(data.batches(samples, len, [[]], workers=0)).indices == ()


def test_a_loader_that_is_interrupted_is_not_a_bad_sample():
    def interrupted(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(interrupted, len, 0)


def run(script, tmp_path, **options):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def pictures(folder):
    for i in range(12):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(folder / f"{i:02}.png")


def test_a_preparation_of_the_script_itself_reaches_the_workers(tmp_path):
    pictures(tmp_path)
    script = f"""
        import torch
        from layerwise import data

        def red(picture):
            return torch.tensor(picture.getpixel((0, 0))[0])

        if __name__ == "__main__":
            samples = data.open({str(tmp_path)!r})
            for batch in data.batches(samples, red, [[5, 3], [4]], workers=1):
                print([int(value) for value in batch.prepared])
    """
    process = run(script, tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines() == ["[5, 3]", "[4]"]


def test_ctrl_c_ends_a_script_without_a_guard_at_once(tmp_path):
    pictures(tmp_path)
    script = f"""
        import time
        from layerwise import data
        samples = data.open({str(tmp_path)!r})
        for batch in data.batches(samples, bool, [[i % 12] for i in range(100000)], workers=2):
            print("going", flush=True)
            time.sleep(0.05)
    """
    process = run(script, tmp_path)
    assert process.stdout.readline() == "going\n"
    group = os.getpgid(process.pid)
    os.killpg(group, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert wait_until_gone(group), "a process of the script is still running"


def test_workers_of_a_killed_process_end(tmp_path):
    pictures(tmp_path)
    script = f"""
        import time
        from layerwise import data
        samples = data.open({str(tmp_path)!r})
        for batch in data.batches(samples, bool, [[i % 12] for i in range(100000)], workers=1):
            print("going", flush=True)
            time.sleep(0.05)
    """
    process = run(script, tmp_path)
    assert process.stdout.readline() == "going\n"
    group = os.getpgid(process.pid)
    process.kill()
    process.communicate(timeout=60)
    assert wait_until_gone(group), "a worker outlives its parent"


def wait_until_gone(group):
    """Whether every process of a group ends within some seconds."""
    for _ in range(200):
        if not any(_in_group(path, group) for path in Path("/proc").glob("[0-9]*")):
            return True
        time.sleep(0.1)
    return False


def _in_group(path, group):
    try:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[2]) == group
