"""Headless Chromium for tests, spoken to over its own protocol: no driver, no other package."""

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-port=0 --remote-allow-origins=*"
)
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
KEYS |= {"Home": 36, "End": 35}
TYPED = {"Enter": "\r", " ": " "}


class Browser:
    """One page in one browser; `with Browser(folder) as page`."""

    def __init__(self, folder: Path):
        self._socket = pytest.importorskip("websocket", reason="websocket-client is not installed")
        names = ("chromium", "chromium-browser", "chrome")
        program = next(filter(None, map(shutil.which, names)), "")
        if not program:
            pytest.skip("Chromium is not installed")
        self._command = [program, *FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
        self._port, self._number, self.events = folder / "DevToolsActivePort", 0, []

    def __enter__(self):
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        for _ in range(600):
            if self._port.exists() and self._port.read_text().strip():
                break
            time.sleep(0.1)
        listing = f"http://127.0.0.1:{self._port.read_text().split()[0]}/json"
        targets = json.loads(urllib.request.urlopen(listing, timeout=60).read())
        (target,) = [target for target in targets if target["type"] == "page"]
        self._connection = self._socket.create_connection(
            target["webSocketDebuggerUrl"], timeout=120
        )
        for method in ("Network.enable", "Page.enable", "Runtime.enable"):
            self.call(method)
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        return self

    def __exit__(self, *error):
        self._connection.close()
        self._process.terminate()
        self._process.wait(60)

    def call(self, method: str, **params):
        """Send a command and return its result; events that come meanwhile are kept."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, url: str) -> list[str]:
        """Open a page and return the address of every request until its load event."""
        self.events = []
        loader = self.call("Page.navigate", url=url)["loaderId"]
        while not any(
            event.get("params", {}).get("name") == "load"
            and event["params"].get("loaderId") == loader
            for event in self.events
        ):
            self.events.append(json.loads(self._connection.recv()))
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def js(self, expression: str):
        """Return the value of an expression, waiting where it is a promise."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a hand on the keyboard does."""
        for key in keys:
            about = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            text = {"text": TYPED[key]} if key in TYPED else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose(self, selector: str, paths: list[Path]) -> None:
        """Choose files in a field, as in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def look(self, *, theme: str = "light", width: int = 1280) -> None:
        """Choose the theme and the width of the window."""
        scheme = {"name": "prefers-color-scheme", "value": theme}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
