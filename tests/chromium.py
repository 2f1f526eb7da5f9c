"""Headless Chromium, driven by its DevTools protocol: what a person sees of a page, and does with it.

with browser(program) as chromium:
    page = chromium.page()
    page.open("http://127.0.0.1:8000/")
    page.value("document.title")

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

from tests.processes import die_with_parent
from tests.waiting import PATIENCE_SECONDS, wait_for

# Debian has the browser, and the same without what shows windows.
_PROGRAMS = ("chromium", "chromium-headless-shell")
_KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def find_chromium() -> str | None:
    """The program; None when there is none."""
    return next((found for one in _PROGRAMS if (found := shutil.which(one))), None)


@dataclass
class Chromium:
    """A running browser."""

    connection: websocket.WebSocket
    events: list[dict[str, Any]] = field(default_factory=list)
    _last: int = 0

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """The result of a command of the protocol. Events that come meanwhile are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        self.connection.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer: dict[str, Any] = json.loads(self.connection.recv())
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self.events.append(answer)

    def page(self, width: int = 1280, height: int = 900) -> Page:
        """A new, empty page of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        return page


@dataclass
class Page:
    """One page of a browser."""

    browser: Chromium
    session: str

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def resize(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def colours(self, scheme: str) -> None:
        """`light` or `dark`, as the user's system prefers."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Returns when the page is loaded."""
        self.call("Page.navigate", url=url)
        wait_for(
            "the page",
            lambda: (
                self.value("document.readyState") == "complete"
                and self.value("location.href") != "about:blank"
            ),
            # While one document takes the place of the other, nothing can be evaluated.
            not_yet=(AssertionError,),
        )

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of its promise."""
        # The protocol's evaluation is not the page's own script, so its Content-Security-Policy allows it.
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        text = {"Enter": "\r", " ": " "}.get(key)
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def requested(self) -> list[str]:
        """The URL of every request that the page made."""
        self.value("0")  # collects the events that have come
        return [
            one["params"]["request"]["url"]
            for one in self.browser.events
            if one["method"] == "Network.requestWillBeSent" and one.get("sessionId") == self.session
        ]

    def complaints(self) -> list[str]:
        """What the browser logged: errors of scripts, and what the Content-Security-Policy stopped."""
        self.value("0")
        return [
            json.dumps(one["params"])
            for one in self.browser.events
            if one["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
            and one.get("sessionId") == self.session
        ]

    def screenshot(self) -> bytes:
        """The whole page, as a PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the browser with all of its processes: what is left would hold its profile, and run on."""
    process.kill()
    process.wait()
    with suppress(ProcessLookupError):
        for _ in range(100):  # not for ever: where nobody reaps them, they stay in the list
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.1)


@contextmanager
def browser(program: str) -> Iterator[Chromium]:
    """A browser without a window, with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            [
                program,
                "--headless",
                "--no-sandbox",  # which root cannot have
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--disable-lcd-text",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--user-data-dir={directory}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        try:
            port_file = Path(directory) / "DevToolsActivePort"

            def address() -> str:
                port, path = port_file.read_text().splitlines()
                return f"ws://127.0.0.1:{port}{path}"

            url = wait_for("Chromium", address, not_yet=(OSError, ValueError))
            connection = websocket.create_connection(url, timeout=PATIENCE_SECONDS)
            try:
                yield Chromium(connection)
            finally:
                connection.close()
        finally:
            _end(process)
