"""The real server over real connections, and its pages in a real browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from browser import Browser
from layerwise import serve
from layerwise.cli import app as cli
from served import app_of

PROGRAM = (sys.executable, "-c", "from layerwise.cli import main; main()", "serve")


def ask(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}health", timeout=120) as answer:
        return json.load(answer)


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send something over a connection, and hear all that comes back until it is closed."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # closed meanwhile; what was answered is still to be read
        try:
            while part := line.recv(65536):
                heard += part
        except OSError:
            pass
    return heard


@pytest.mark.slow
def test_the_program_survives_what_it_is_sent_and_ends_with_ctrl_c(reader: Path) -> None:
    flags = ("--port", "0", "--max-mb", "1", "--timeout", "5", "--device", "cpu")
    with subprocess.Popen(
        [*PROGRAM, str(reader), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LAYERWISE_THREADS": "1"},
    ) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line.startswith(f"{reader} is served at http://127.0.0.1:"), program.communicate()
        address = line.split(" at ")[1].split()[0]
        port = int(address.rstrip("/").rpartition(":")[2])
        assert ask(address)["kind"] == "reader"

        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        assert b" 400 " in talk(port, b"\x00\x01\x02 nonsense\r\n\r\n").splitlines()[0]
        assert b" 400 " in talk(port, b"GET / HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
        announced = talk(port, head + b"Content-Length: 99999999999\r\n\r\n")
        assert announced.startswith(b"HTTP/1.1 413")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        endless = talk(port, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 400)
        assert endless.startswith(b"HTTP/1.1 413")
        assert b"larger than 1 MB" in endless
        slow = talk(port, head + b"Content-Length: 50\r\n\r\n", b'{"inputs"', pause=0.1)
        assert slow.startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", port)) as line_cut:
            line_cut.sendall(head + b"Content-Length: 50\r\n\r\n{")
        assert ask(address)["status"] == "ok"

        taken = CliRunner().invoke(cli, ["serve", str(reader), "--port", str(port)])
        assert taken.exit_code == 2
        assert taken.stderr.startswith(f"layerwise: port {port} of 127.0.0.1 cannot be had (")
        assert taken.stderr.count("\n") == 1

        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=120)
    assert program.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder from a thread of this process."""
    with serve.listen(port=0) as taken:
        config = uvicorn.Config(app_of(folder), log_level="warning", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([taken],))
        thread.start()
        try:
            yield serve.address_of(taken)
        finally:
            server.should_exit = True
            thread.join(120)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def start(browser: Browser, address: str) -> None:
    browser.events.clear()
    browser.open(address)


def settled(browser: Browser, times: int, address: str) -> None:
    """Wait for so many answers; the page has no complaint, and has asked its own server only."""
    browser.wait(f"document.documentElement.dataset.asked === '{times}'")
    assert browser.complaints() == []
    sent = browser.requests()
    assert all(each.startswith((address, f"blob:{address}", "data:")) for each in sent), sent
    for width in (1280, 400):
        browser.resize(width)
        assert browser.run("document.documentElement.scrollWidth") <= width


def type_in(browser: Browser, text: str) -> None:
    """Type a text and ask by the keyboard."""
    browser.run("document.getElementById('text').focus()")
    browser.tell("Input.insertText", text=text)
    browser.press("Enter", modifiers=2)


def text_of(browser: Browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")


def test_a_picture_is_dropped_on_a_reader(browser: Browser, reader: Path, pictures: Path) -> None:
    with served(reader) as address:
        start(browser, address)
        browser.drop(
            "#drop", pictures / "red" / "1.png", pictures / "blue" / "2.png", reader / "reader.json"
        )
        settled(browser, 1, address)
        assert text_of(browser, ".answer .kicker") == ["class", "class"]
        assert text_of(browser, ".answer figcaption") == ["2.png", "1.png"]
        titles = text_of(browser, ".answer h3")
        assert [title.split()[0] for title in titles] == ["blue", "red"]
        assert text_of(browser, ".shares th").count("red") == 2
        assert text_of(browser, "#failure") == [
            "reader.json was not read: no picture format is recognised in it"
        ]
        assert browser.run(
            "[...document.querySelectorAll('.given img')].every(e => e.naturalWidth === 48)"
        )
        browser.run(
            "(() => { const canvas = new OffscreenCanvas(48, 48); canvas.getContext('2d');"
            "return canvas.convertToBlob().then((blob) => { const data = new DataTransfer();"
            "data.items.add(new File([blob], 'pasted.png'));"
            "dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})); }); })()"
        )
        browser.wait("document.documentElement.dataset.asked === '2'")
        assert text_of(browser, ".answer figcaption") == ["pasted.png", "2.png", "1.png"]
        assert text_of(browser, "#failure") == [""]


def test_a_page_says_when_its_server_is_gone(
    browser: Browser, reader: Path, pictures: Path
) -> None:
    with served(reader) as address:
        start(browser, address)
    browser.choose("#files", pictures / "red" / "1.png")
    browser.wait("document.documentElement.dataset.asked === '1'")
    assert "The server cannot be reached" in text_of(browser, "#failure")[0]


def test_a_text_is_typed_to_a_reader_by_keyboard(browser: Browser, text_reader: Path) -> None:
    with served(text_reader) as address:
        start(browser, address)
        type_in(browser, "red apple apple <b>apple</b>")
        settled(browser, 1, address)
        assert text_of(browser, ".answer blockquote") == ["red apple apple <b>apple</b>"]
        (title,) = text_of(browser, ".answer h3")
        assert " to " in title
        browser.run("document.getElementById('text').value = '  '")
        browser.run("document.getElementById('send').click()")
        assert browser.run("document.activeElement.id") == "text"


def test_an_index_is_searched_layer_by_layer(browser: Browser, index: Path, pictures: Path) -> None:
    with served(index) as address:
        start(browser, address)
        browser.choose("#files", pictures / "red" / "5.png")
        settled(browser, 1, address)
        assert len(text_of(browser, ".tile")) == 12
        assert text_of(browser, ".tile span:first-of-type")[0] == "red/5.png"
        browser.wait("document.querySelector('.tile img').naturalWidth === 48")
        assert text_of(browser, ".slider output") == ["all layers"]
        before = text_of(browser, ".tile b")
        browser.run("document.querySelector('input[type=range]').focus()")
        browser.press("ArrowRight")
        assert text_of(browser, ".slider output") == ["blocks.0 (mean)"]
        assert text_of(browser, ".tile b") != before
        assert browser.run("document.activeElement.getAttribute('aria-valuetext')") == (
            "blocks.0 (mean), 2 of 3"
        )
        assert browser.complaints() == []


def test_pictures_are_found_by_words_and_by_pictures(
    browser: Browser, both_index: Path, pictures: Path
) -> None:
    with served(both_index) as address:
        start(browser, address)
        type_in(browser, "green <b>apple</b>")
        settled(browser, 1, address)
        assert text_of(browser, ".answer blockquote") == ["green <b>apple</b>"]
        assert len(text_of(browser, ".tile img")) == len(text_of(browser, ".tile")) == 12
        browser.choose("#files", pictures / "red" / "5.png")
        settled(browser, 2, address)
        assert text_of(browser, ".answer figcaption")[0] == "5.png"
        assert text_of(browser, ".tile span:first-of-type")[0] == "red/5.png"


def test_an_atlas_shows_what_each_layer_sees(
    browser: Browser, surveyed: Path, pictures: Path
) -> None:
    with served(surveyed) as address:
        start(browser, address)
        browser.choose("#files", pictures / "blue" / "5.png")
        settled(browser, 1, address)
        seen = []
        for place in range(2):
            browser.run(
                f"(i => {{ i.value = {place}; i.dispatchEvent(new Event('input')); }})"
                "(document.querySelector('input[type=range]'))"
            )
            assert text_of(browser, ".readings b") == ["blue"]
            assert text_of(browser, ".tile span:first-of-type")[0] == "blue/5.png"
            seen.append(browser.run("document.querySelector('img.seen').src"))
        assert seen[0] != seen[1]
        browser.run("document.querySelector('.contents a[href=atlas]').click()")
        browser.wait("document.querySelector('h1')?.textContent === 'Which layer?'")
        browser.wait("document.documentElement.dataset.ready === 'yes'")
        assert browser.run("document.documentElement.dataset.failed") is None
        assert browser.complaints() == []
