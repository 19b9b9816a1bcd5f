"""What goes wrong ends in one line on standard error and a number, never in a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import layerwise
from layerwise.cli import app
from layerwise.cli._allocator import keep_freed_memory
from layerwise.cli._main import _edge
from layerwise.cli._threads import settle_threads, usable_cores
from layerwise.errors import LayerwiseError

PROGRAM = (sys.executable, "-c", "from layerwise.cli import main; main()")


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_version() -> None:
    done = _run("--version")
    assert (done.returncode, done.stdout) == (0, f"layerwise {layerwise.__version__}\n")


def test_a_mistake_is_one_line_and_exit_code_2() -> None:
    done = _run("list", "--room", "kitchen")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("layerwise: no room is called 'kitchen'; nearest: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LayerwiseError("no layer\n  is called 'x'"), 2, "no layer is called 'x'"),
        (OSError(errno.ENOSPC, "No space", "store"), 2, "no space left on the device at store"),
        (OSError("LanceError(IO): No space left on device"), 2, "no space left on the device;"),
        (PermissionError(errno.EACCES, "denied", "out"), 2, "permission denied at out"),
        (KeyboardInterrupt(), 130, "interrupted; what is finished is kept"),
        (KeyboardInterrupt("stopped after 3"), 130, "stopped after 3"),
    ],
)
def test_every_foreseen_error_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped, _edge():
        raise error
    assert stopped.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(f"layerwise: {line}")
    assert said.count("\n") == 1


def test_an_unforeseen_error_is_not_hidden() -> None:
    with pytest.raises(IsADirectoryError), _edge():
        raise IsADirectoryError(errno.EISDIR, "is a directory", "x")


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_one_flag_is_spelled_and_explained_alike_everywhere() -> None:
    seen: dict[str, set[tuple[str, ...]]] = {}
    for command in typer.main.get_command(app).commands.values():
        for parameter in command.params:
            seen.setdefault(parameter.opts[0], set()).add((*parameter.opts, parameter.help))
    assert all(len(kinds) == 1 for kinds in seen.values()), seen
    assert {"--out", "--seed", "--device", "--limit", "--json"} <= set(seen)


def test_threads_come_from_the_user_then_from_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.delenv("LAYERWISE_THREADS", raising=False)
    cores = settle_threads()
    assert cores == usable_cores()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", str(cores))
    monkeypatch.setenv("LAYERWISE_THREADS", "5")
    assert settle_threads() == 5
    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize("wish", ["0", "many", "-1", "1.5"])
def test_a_wrong_number_of_threads_is_refused(wish: str) -> None:
    done = _run("list", LAYERWISE_THREADS=wish)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"layerwise: LAYERWISE_THREADS is {wish!r}; it must be a whole number from 1\n"
    )


@pytest.mark.parametrize(
    ("says", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 999)]
)
def test_a_containers_quota_counts(tmp_path: Path, says: str, most: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(f"{says}\n")
    assert 1 <= usable_cores(quota) <= most


def test_the_allocator_is_left_alone_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_MALLOC", "0")
    assert not keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="the settings exist under Linux with glibc")
def test_the_allocator_reuses_memory() -> None:
    code = (
        "import resource, torch\n"
        "from layerwise.cli._allocator import keep_freed_memory as keep\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.zeros(2**22)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "plain = faults(); keep(); faults(); print(plain > 20 * faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_ctrl_c_ends_cleanly() -> None:
    code = (
        "import time, layerwise.cli._main as m\n"
        "@m.app.command('sleep')\n"
        "def sleep(): print('asleep', flush=True); time.sleep(60)\n"
        "import sys; sys.argv[1:] = ['sleep']; m.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "asleep\n"
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=30)
    assert program.returncode == 130
    assert said.startswith("layerwise: interrupted;")
    assert said.count("\n") == 1
