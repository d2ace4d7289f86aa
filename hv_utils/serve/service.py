"""The routes of the service: pictures in, rows out, and what is said about it all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from hv_utils import __version__
from hv_utils.serve.batching import Batcher
from hv_utils.serve.classify_page import service_page
from hv_utils.serve.doorkeeper import Doorkeeper
from hv_utils.serve.limits import HUNG_UP, RETRY_AFTER, Limits, Refusal
from hv_utils.serve.uploads import FIELD, Uploads
from hv_utils.serve.works import REASON, Model, Work, works_of

OPEN = ("/", "/health")  # without a token: they tell nothing and cost nothing
ABOUT = {"look": "What the page shows: the table of hv predict, views and heat maps"}
REFUSALS = {
    400: "The request is not well-formed",
    401: "There is no token, or a wrong one",
    408: "The request came too slowly",
    413: "Too large, or too many files",
    422: "Something else than pictures in the field `files`",
    503: "No room at the moment; Retry-After says when to come again",
}


def create_app(
    model: Model,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    works: Mapping[str, Callable[[Model], Work]] | None = None,
) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    model : Model
        The one that is kept in memory.
    limits : Limits, optional
    token : str, optional
        What requests must bear, but for `OPEN`; by default nothing.
    hosts : frozenset of str, optional
        Names by which the service may be called, by default any: on loopback a web page elsewhere
        must not reach it under a name of its own.
    works : mapping of str to callable, optional
        The routes, by default `works.works_of(model)`.

    Returns
    -------
    FastAPI
    """
    limits = limits or Limits()
    made = {name: make(model) for name, make in (works or works_of(model)).items()}
    options = {"batch_size": model.batch_size, "capacity": limits.queue}
    batchers = {name: Batcher(work.prepare, work.judge, **options) for name, work in made.items()}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for batcher in batchers.values():
            await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="HematoVision",
        version=__version__,
        description="White blood cells in pictures, named. Nothing here is for diagnosis.",
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _refuse_in_one_line(app)
    _add_facts(app, model, limits, made, batchers)
    uploads = Uploads(limits)
    for name, work in made.items():
        _add_work(app, name, work, batchers[name], uploads)
    app.add_middleware(Doorkeeper, token=token, hosts=hosts, free=OPEN, limits=limits)
    return app


def _refuse_in_one_line(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return refusal(error.status, str(error))

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> JSONResponse:
        paths = ", ".join(sorted(app.openapi()["paths"]))
        found = "nothing is there" if error.status_code == 404 else "it takes another method"
        message = f"expected one of {paths}, but {found}: see /openapi.json"
        return refusal(error.status_code, message, error.headers)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an answer that says in one line why there is no other."""
    headers = dict(headers or {})
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    if status == 408:
        headers["Connection"] = "close"  # what is still coming is not waited for
    return JSONResponse({"error": message}, status, headers)


def _add_facts(
    app: FastAPI,
    model: Model,
    limits: Limits,
    works: Mapping[str, Work],
    batchers: Mapping[str, Batcher],
) -> None:
    html = service_page()

    @app.get("/", response_class=HTMLResponse, responses=_responses())
    async def page() -> HTMLResponse:
        """Serve the page for a browser."""
        return HTMLResponse(html)

    @app.get("/health", responses=_responses())
    async def health() -> dict[str, Any]:
        """Tell that the service is there, and how many pictures wait."""
        waiting = sum(batcher.waiting for batcher in batchers.values())
        return {"status": "ok", "waiting": waiting, "queue": limits.queue}

    @app.get("/model", responses=_responses(401))
    async def about() -> dict[str, Any]:
        """Tell what the model is, what the tables hold and what a request may ask for."""
        facts = model.facts
        return {
            "name": model.name,
            "sha256": facts["sha256"]["onnx"],
            "classes": list(facts["classes"]),
            "size": list(facts["size"]),
            "view": facts.get("view", "resized"),
            "um_per_pixel": model.um_per_pixel,
            "columns": {name: [*work.columns, REASON] for name, work in works.items()},
            "limits": {
                "files": limits.files,
                "megabytes": limits.megabytes,
                "megapixels": limits.megapixels,
                "seconds": limits.seconds,
            },
            "version": __version__,
            "notice": "Nothing here is for diagnosis.",
        }


def _add_work(app: FastAPI, name: str, work: Work, batcher: Batcher, uploads: Uploads) -> None:
    async def run(request: Request) -> JSONResponse:
        if request.url.query:
            raise Refusal(
                422,
                "expected no parameters in the address, but there are some: the service is set "
                "when it is started; leave them out",
            )
        async with uploads.pictures(request) as pictures:
            rows = await _judged(batcher, pictures, request, uploads.limits.seconds)
        request.state.files, request.state.rows = len(pictures), len(rows)
        return JSONResponse(work.answer(rows))

    app.add_api_route(
        f"/{name}",
        run,
        methods=["POST"],
        summary=ABOUT.get(name, f"The table of hv {name}"),
        description=f"Pictures in the field `{FIELD}`; a row each, or one a cell, in their order. "
        "A picture that cannot be read has its row, with status `unreadable` and a `reason`.",
        openapi_extra={"requestBody": _body()},
        responses=_responses(*REFUSALS, rows=_rows_schema(work)),
    )


async def _judged(batcher: Batcher, pictures: list, request: Request, seconds: float) -> list[dict]:
    """Return the rows of pictures; nothing is worked at any more for who has gone or waited."""
    rows = asyncio.ensure_future(_gathered(batcher.submit(pictures)))
    gone = asyncio.ensure_future(request.receive())  # the body is read: this is who hangs up
    try:
        done, _ = await asyncio.wait(
            {rows, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if rows in done:
            return rows.result()
        if gone in done:
            raise Refusal(HUNG_UP, "expected somebody to wait for the answer: nobody does")
    finally:
        gone.cancel()
        rows.cancel()
    raise Refusal(
        503,
        f"expected an answer within {seconds:g} s, but the pictures before these take longer: "
        "send them again in a moment",
    )


async def _gathered(futures: Sequence[Future[list[dict]]]) -> list[dict]:
    parts = await asyncio.gather(*map(asyncio.wrap_future, futures))
    return [row for part in parts for row in part]


def _body() -> dict[str, Any]:
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    schema = {
        "type": "object",
        "properties": {FIELD: files},
        "required": [FIELD],
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _rows_schema(work: Work) -> dict[str, Any]:
    names = [*work.columns, REASON]
    row = {"type": "object", "properties": {name: {} for name in names}, "required": names}
    rows = {"type": "array", "items": row}
    return {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}


def _responses(*statuses: int, rows: Mapping[str, Any] | None = None) -> dict[int, Any]:
    """Describe the answers for OpenAPI."""
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    wrong_host = () if 400 in statuses else (400,)
    found: dict[int, Any] = {
        status: {
            "description": REFUSALS[status],
            "content": {"application/json": {"schema": error}},
        }
        for status in (*wrong_host, *statuses)
    }
    if rows is not None:
        content = {"application/json": {"schema": dict(rows)}}
        found[200] = {"description": "The rows, in the order sent", "content": content}
    return found
