"""Who may come in, what is written of each visit, and what every answer bears."""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from collections.abc import Collection
from http import HTTPMethod
from pathlib import Path
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hv_utils.serve.limits import Limits

LOG = logging.getLogger("hv.serve")
PHASES = 3  # a request is sent, judged and answered, each in its time
HEADERS = {
    # A page of the service asks nobody else: the browser sees to it.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Doorkeeper:
    """Middleware around everything else.

    Parameters
    ----------
    app : ASGI application
    token : str or None
        What `Authorization: Bearer …` must hold.
    hosts : collection of str or None
        What the `Host` header may name.
    free : collection of str
        Paths that need no token.
    limits : Limits
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] | None,
        free: Collection[str],
        limits: Limits,
    ) -> None:
        self.app, self.hosts, self.free, self.limits = app, hosts, free, limits
        self.token = token.encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever becomes of it, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit: dict[str, Any] = {"status": 0, "bytes": 0}
        scope.setdefault("state", {})

        async def noting_receive() -> Message:
            message = await receive()
            visit["bytes"] += len(message.get("body", b""))
            return message

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit["status"] = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        started = perf_counter()
        try:
            async with asyncio.timeout(PHASES * self.limits.seconds):
                turned_away = self._turned_away(scope)
                await (turned_away or self.app)(scope, noting_receive, noting_send)
        except TimeoutError:
            visit["error"] = "the answer was not fetched in time"
        except Exception as error:
            visit["error"] = described(error)
            if not visit["status"]:
                await _broken(error)(scope, receive, noting_send)
        finally:
            visit["ms"] = round(1e3 * (perf_counter() - started), 1)
            LOG.info("request", extra={"facts": self._facts(scope, visit)})

    def _turned_away(self, scope: Scope) -> JSONResponse | None:
        """Return the refusal of a request that is not let in."""
        headers = Headers(scope=scope)
        if self.hosts is not None and _name(headers.get("host", "")) not in self.hosts:
            message = (
                f"expected to be called {' or '.join(sorted(self.hosts))}, but the request names "
                "another host: open the address that hv serve has printed"
            )
            return JSONResponse({"error": message}, 400)
        if self.token is None or scope["path"] in self.free:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # latin-1 is how the header's bytes were read; the comparison takes equally long for all.
        right = secrets.compare_digest(given.strip().encode("latin-1"), self.token)
        if right and scheme.lower() == "bearer":
            return None
        message = (
            "expected the token of this service, but there is none or another: "
            "send the header Authorization: Bearer TOKEN"
        )
        return JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})

    def _facts(self, scope: Scope, visit: dict[str, Any]) -> dict[str, Any]:
        """Return what is logged: of what the sender has written neither names nor addresses."""
        route, method = scope.get("route"), scope["method"]
        return {
            "route": getattr(route, "path", None),
            "method": method if method in list(HTTPMethod) else None,
            **visit,
            **{name: scope["state"][name] for name in ("files", "rows") if name in scope["state"]},
        }


def _name(host: str) -> str:
    """Return a host's name without its port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def described(error: BaseException) -> str:
    """Say where an error arose; its message may hold a file's name and is left out."""
    places = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in reversed(places))
    return f"{type(error).__name__} at {where}"


def _broken(error: Exception) -> JSONResponse:
    message = (
        f"expected to serve this, but the service has a fault ({type(error).__name__}): "
        "its log says where; report it"
    )
    return JSONResponse({"error": message}, 500)
