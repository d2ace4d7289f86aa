"""`hv serve` in a process of its own that cannot write a byte to any file."""

import http.client
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import psutil

BOUNDARY = "a-line-that-no-picture-holds"


def write_nothing():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


class Client:
    """Asks a service."""

    def __init__(self, address: tuple[str, int]):
        self.address = address

    def ask(self, method, path, body=None, **headers):
        """Return status, headers, and the JSON or the text of the answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        kind = answer.headers["content-type"]
        return answer.status, answer.headers, json.loads(text) if "json" in kind else text

    def send(self, files, path="/predict", **headers):
        """Send pairs of a name and contents as a browser does."""
        parts = [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"'
            "\r\n\r\n".encode()
            + content
            + b"\r\n"
            for name, content in files
        ]
        body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.ask("POST", path, body, Content_Type=kind, **headers)


class Service(Client):
    """What was started, and how to ask it."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.log = process, []
        found = re.search(r"http://(.+):(\d+)/", process.stdout.readline())
        assert found, process.stderr.read()
        super().__init__((found[1].strip("[]"), int(found[2])))
        self.about = psutil.Process(process.pid)
        self._reader = threading.Thread(target=lambda: self.log.extend(process.stderr))
        self._reader.start()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def end(self) -> int:
        """Ask it to stop and return its exit status; its log is whole then."""
        self.process.terminate()
        code = self.process.wait(60)
        self._reader.join(60)
        return code


@contextmanager
def running(*flags, port: int = 0):
    """Start `hv serve` with these flags, and end it."""
    command = [sys.executable, "-m", "hv_utils.cli", "serve", "--port", str(port), *map(str, flags)]
    before = None if sys.platform == "win32" else write_nothing
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=before, **pipes)
    try:
        yield Service(process)
    finally:
        process.kill()
        process.wait(60)


@contextmanager
def in_a_thread(app, limits):
    """Serve an application in a thread of this process."""
    from hv_utils.serve.server import listen, make_server

    sock = listen("127.0.0.1", 0)
    address, server = sock.getsockname(), make_server(app, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield Client(address)
    finally:
        server.should_exit = True
        thread.join(60)
