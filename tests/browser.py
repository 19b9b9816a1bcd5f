"""A real Chromium for tests, driven over a pipe by its own protocol; no package is needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)


class RefusedError(Exception):
    """The browser answered a command with an error."""


class Browser:
    """One page in a browser of its own.

    Args:
        profile: folder for what the browser keeps.
    """

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            pytest.skip("chromium missing")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The browser reads commands from its descriptor 3 and writes to its descriptor 4.
        wiring = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        words = ("bash", "-c", wiring, "bash", program, *_FLAGS, f"--user-data-dir={profile}")
        self.process = subprocess.Popen(
            [*words, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.to, self.back = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self.numbers = itertools.count(1)
        self.left = b""
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        targets = self.tell("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self.tell("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for room in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.tell(f"{room}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.session = None
        self.tell("Browser.close")
        self.to.close()
        self.back.close()
        self.process.wait(timeout=120)

    def tell(self, method: str, **params: object) -> dict[str, Any]:
        """Give a command and wait for its result; what happens meanwhile is in `events`."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RefusedError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, address: str) -> None:
        """Go to a page and wait until its script has run."""
        self.tell("Page.navigate", url=address)
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.tell(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = 180.0) -> None:
        """Wait until an expression in the page, or in the one that follows it, is true."""
        end = time.monotonic() + seconds
        while True:
            # While one page gives way to the next there is nothing that could answer.
            with suppress(RefusedError):
                if self.run(script):
                    return
            assert time.monotonic() < end, f"{script} is not true after {seconds} s"
            time.sleep(0.05)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files for an input, as a person does."""
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        node = self.tell("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.tell("DOM.setFileInputFiles", nodeId=node, files=[str(each) for each in files])

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers)

    def drop(self, selector: str, *files: Path) -> None:
        """Drop files on an element."""
        box = self.run(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        data = {"items": [], "files": [str(each) for each in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.tell("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def complaints(self) -> list[str]:
        """Errors and warnings of the page, and requests that left its server."""
        found = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            if method == "Log.entryAdded":
                found.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            elif method == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"]))
        return found

    def requests(self) -> list[str]:
        """Addresses of all that the page has asked for."""
        sent = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def shoot(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Take a picture of the whole page."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", features=scheme)
        self.resize(width)
        shot = self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def resize(self, width: int) -> None:
        """Give the window another width, and the height of the page."""
        size = {"width": width, "deviceScaleFactor": 1, "mobile": False}
        self.tell("Emulation.setDeviceMetricsOverride", height=900, **size)
        time.sleep(0.3)
        height = self.run("document.documentElement.scrollHeight")
        self.tell("Emulation.setDeviceMetricsOverride", height=height, **size)
        time.sleep(0.5)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            part = os.read(self.back.fileno(), 1 << 20)
            assert part, "the browser has gone"
            self.left += part
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)
