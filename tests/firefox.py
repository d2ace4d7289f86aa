"""Headless Firefox for tests, spoken to over Marionette: no driver, no other package."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

# Test tools relax Firefox so far that a page from disk may open its neighbours: nobody's own does.
SETTINGS = {
    "remote.prefs.recommended": False,
    "security.fileuri.strict_origin_policy": True,
    "marionette.port": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "browser.aboutwelcome.enabled": False,
    "network.dns.disabled": True,  # nothing leaves, whatever the browser itself wants
}
KEYS = {"Tab": "\ue004", " ": " ", "Enter": "\ue007"}


class Firefox:
    """One page in one browser, with the methods of `browser.Browser` that the tests need."""

    def __init__(self, folder: Path):
        program = shutil.which("firefox-esr") or shutil.which("firefox")
        if not program:
            pytest.skip("Firefox is not installed")
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in SETTINGS.items()]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "user.js").write_text("\n".join(lines))
        self._folder, self._number = folder, 0
        self._command = [program, "--headless", "--marionette", "--profile", str(folder)]

    def __enter__(self):
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        port = self._folder / "MarionetteActivePort"
        for _ in range(600):
            if port.exists() and port.read_text().strip():
                break
            time.sleep(0.1)
        self._connection = socket.create_connection(("127.0.0.1", int(port.read_text())), 120)
        self._stream = self._connection.makefile("rb")
        self._receive()  # who it is
        self.call("WebDriver:NewSession", capabilities={"alwaysMatch": {}})
        self.call("WebDriver:SetTimeouts", script=120_000)
        return self

    def __exit__(self, *error):
        self._stream.close()
        self._connection.close()
        self._process.terminate()
        self._process.wait(60)

    def _receive(self):
        length = b""
        while not length.endswith(b":"):
            length += self._stream.read(1)
        return json.loads(self._stream.read(int(length[:-1])))

    def call(self, command: str, **parameters):
        """Send a command and return its result."""
        self._number += 1
        text = json.dumps([0, self._number, command, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(text), text))
        _, _, error, found = self._receive()
        assert error is None, error
        return found

    def open(self, url: str) -> None:
        """Open a page."""
        self.call("WebDriver:Navigate", url=url)

    def js(self, expression: str):
        """Return the value of an expression, waiting where it is a promise."""
        script = f"const [done] = arguments; Promise.resolve({expression}).then(done);"
        return self.call("WebDriver:ExecuteAsyncScript", script=script, args=[])["value"]

    def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in a field, as in the dialog."""
        found = self.call("WebDriver:FindElement", using="css selector", value=selector)["value"]
        (element,) = found.values()
        text = "\n".join(map(str, paths))
        self.call("WebDriver:ElementSendKeys", id=element, text=text)

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            actions = [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
            source = {"type": "key", "id": "keyboard", "actions": actions}
            self.call("WebDriver:PerformActions", actions=[source])
