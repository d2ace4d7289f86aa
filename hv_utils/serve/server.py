"""The service on a socket: addresses, connections, logs, and the way to a clean end."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TextIO

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from hv_utils.ground.errors import HematoVisionError
from hv_utils.serve.doorkeeper import PHASES, described
from hv_utils.serve.limits import RETRY_AFTER, Limits

LEAST_TOKEN = 16
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FULL = json.dumps({"error": "expected a free connection, but all are taken: come again"}).encode()


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine for itself; of other names nobody can know."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_token(host: str, token: str | None) -> None:
    """Refuse a token that is too short or cannot be sent, and a door open to others without one.

    Raises
    ------
    HematoVisionError
    """
    if token is None and not is_loopback(host):
        raise HematoVisionError(
            f"expected a token where others can reach the service, but --host is {host!r} and "
            "there is none: set HV_TOKEN or --token, or stay on 127.0.0.1"
        )
    if token is not None and not (
        len(token) >= LEAST_TOKEN and token.isascii() and token.isprintable() and " " not in token
    ):
        raise HematoVisionError(
            f"expected a token of at least {LEAST_TOKEN} letters, digits and signs, but this one "
            "is shorter or holds others: make one with "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises
    ------
    HematoVisionError
        Where the address is not to be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise HematoVisionError(
            f"expected a free address, but port {port} of {host!r} cannot be had "
            f"({error.strerror or error}): name another --port, or end what has it"
        ) from error


class Impatient(H11Protocol):
    """A connection that is closed when for a while no request begins, and refused when too many.

    Uvicorn waits for the head of a request for ever.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, *args: object, limits: Limits, **options: object) -> None:
        super().__init__(*args, **options)
        self._limits, self._last = limits, None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to watch, or refuse."""
        super().connection_made(transport)
        self._watch = self.loop.call_later(self._limits.seconds, self._look)
        if len(self.connections) > self._limits.connections:
            head = (
                f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(FULL)}\r\n"
                "Connection: close\r\n\r\n"
            )
            transport.write(head.encode() + FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cease to watch."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close where since the last look no new request has come and none is at work."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._last:
            self.transport.abort()
            return
        self._last = self.cycle
        self._watch = self.loop.call_later(self._limits.seconds, self._look)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; of an exception where it arose, not what it says."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line["error"] = described(record.exc_info[1])
        return json.dumps({**line, **getattr(record, "facts", {})})


def log_to(stream: TextIO) -> None:
    """Send the logs of the service and of uvicorn to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name in ("hv.serve", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name != "asyncio" else logging.WARNING)


def make_server(app: FastAPI, limits: Limits) -> uvicorn.Server:
    """Return uvicorn, set so that it says nothing of itself and ends in bounded time."""
    config = uvicorn.Config(
        app,
        http=partial(Impatient, limits=limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(PHASES * limits.seconds) + 1,
    )
    return uvicorn.Server(config)


def serve(
    app: FastAPI, sock: socket.socket, limits: Limits, *, say: Callable[[str], None] = print
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; what was taken is finished before.

    Parameters
    ----------
    app : FastAPI
    sock : socket.socket
        See `listen`.
    limits : Limits
    say : callable
        Takes the line with the address.
    """
    log_to(sys.stderr)
    server = make_server(app, limits)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, server.handle_exit)
    host, port = sock.getsockname()[:2]
    say(f"serving http://{f'[{host}]' if ':' in host else host}:{port}/ until Ctrl-C")
    try:
        server.run(sockets=[sock])
    except KeyboardInterrupt:  # uvicorn hands the signal on when it has finished
        logging.getLogger("hv.serve").info("stopped")
