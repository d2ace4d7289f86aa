"""Requests that nobody sends in good faith, and what the service has to say to each.

Used by `measure_service.py` and by `tests/serve/test_hostile.py`. Sockets alone: no client library
would send most of them. The service is to be started with the limits in `LIMITS`.
"""

from __future__ import annotations

import io
import json
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image

LIMITS = {"--max-files": 100, "--max-mb": 4, "--max-megapixels": 20, "--timeout": 2}
CLOSED = 0  # in place of a status: the connection ended without an answer
BOUNDARY = "a-line-that-no-picture-holds"
Address = tuple[str, int]


def image(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    """Return a small image file of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def flat(width: int, height: int) -> bytes:
    """Return a PNG of one colour, small however large it claims and is."""
    file = io.BytesIO()
    Image.new("L", (width, height), 255).save(file, "PNG")
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size, with next to nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def text_bomb() -> bytes:
    """Return a good PNG with a compressed note of 100 MB in it."""
    good = image()
    data = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    note = len(data).to_bytes(4, "big") + b"zTXt" + data
    note += zlib.crc32(b"zTXt" + data).to_bytes(4, "big")
    return good[:33] + note + good[33:]


def part(name: str | bytes, content: bytes, *, field: str = "files") -> bytes:
    """Return one part of a multipart body."""
    name = name if isinstance(name, bytes) else name.encode()
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="'
    return head.encode() + name + b'"\r\n\r\n' + content + b"\r\n"


def body(*files: bytes) -> bytes:
    """Return a multipart body of parts."""
    return b"".join(files) + f"--{BOUNDARY}--\r\n".encode()


def head(
    *more: str, length: int | str | None = None, kind: str = "", method: str = "POST"
) -> bytes:
    """Return the head of a request for /predict."""
    kind = kind or f"multipart/form-data; boundary={BOUNDARY}"
    lines = [f"{method} /predict HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", *more]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(*files: bytes, **options: str) -> list[bytes]:
    """Return a request that is well-formed as far as HTTP goes."""
    content = body(*files)
    return [head(length=len(content), **options) + content]


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Wrap pieces in chunks."""
    yield head("Transfer-Encoding: chunked")
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def slowly(data: bytes, *, seconds: float = 0.3, most: int = 60) -> Iterator[bytes]:
    """Give a byte now and then."""
    for at in range(min(len(data), most)):
        time.sleep(seconds)
        yield data[at : at + 1]


def talk(
    address: Address, pieces: Iterable[bytes], *, wait: float = 15, half_close: bool = False
) -> tuple[int, dict | None]:
    """Send pieces until they end or the other side has answered.

    Returns
    -------
    status : int
        `CLOSED` where the connection ended without an answer.
    answer : dict or None
        What was answered, where it is JSON.
    """
    with socket.create_connection(address, timeout=wait) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                connection.setblocking(False)
                try:
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                    return CLOSED, None
                except BlockingIOError:
                    pass
                finally:
                    connection.settimeout(wait)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an answer may lie there all the same
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict | None]:
    """Read one answer, see `talk`."""
    answer = b""
    try:
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        top, _, rest = answer.partition(b"\r\n\r\n")
        length = [line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length")]
        wanted = int(length[0].split(b":")[1]) if length else 0
        while len(rest) < wanted and (more := connection.recv(65536)):
            rest += more
    except ConnectionResetError:
        return CLOSED, None
    if not answer:
        return CLOSED, None
    try:
        return int(top.split(b" ")[1]), json.loads(rest)
    except ValueError:
        return int(top.split(b" ")[1]), None


def hung_up(address: Address, pieces: Iterable[bytes]) -> tuple[int, None]:
    """Send pieces and hang up without a word."""
    with socket.create_connection(address) as connection:
        for piece in pieces:
            connection.sendall(piece)
    return CLOSED, None


@dataclass(frozen=True)
class Case:
    """One such request.

    Attributes
    ----------
    name : str
    send : callable
        Takes the address and returns status and answer, see `talk`.
    statuses : tuple of int
        Right answers.
    row : str
        With 200: the status of the row.
    """

    name: str
    send: Callable[[Address], tuple[int, dict | None]]
    statuses: tuple[int, ...]
    row: str = ""


def case(
    name: str, pieces: Callable[[], Iterable[bytes]], *statuses: int, row: str = "", **how: Any
) -> Case:
    """Return a case that sends pieces, made when it is sent."""
    return Case(name, lambda address: talk(address, pieces(), **how), statuses, row)


def all_cases() -> list[Case]:
    """Return the cases, the slow ones last."""
    return [*bad_files(), *bad_names(), *too_much(), *not_files(), *wrong_lengths(), *slow_ones()]


def bad_files() -> list[Case]:
    """Return files that are no pictures, or more than that: each has its row."""
    png, jpeg = image(), image("JPEG")
    files = {
        "a bomb: 9,000 x 9,000 pixels in a few kilobytes": flat(9000, 9000),
        "a bomb: a header of 2 billion x 2 billion pixels": claiming(2**31 - 1, 2**31 - 1),
        "a bomb: a header of 60,000 x 60,000 pixels": claiming(60_000, 60_000),
        "a bomb: a note in a PNG that unpacks to 100 MB": text_bomb(),
        "a header of 4,000 x 4,000 pixels and nothing behind": claiming(4000, 4000),
        "an empty file": b"",
        "a truncated JPEG": jpeg[: len(jpeg) // 2],
        "a truncated PNG": png[: len(png) // 2],
        "a JPEG of two bytes": jpeg[:2],
        "an icon of 8 x 8 pixels": image(size=(8, 8)),
        "text": b"No picture, but words.\n" * 9,
        "a PDF": b"%PDF-1.7\n" + bytes(500),
        "a zip": b"PK\3\4" + bytes(500),
        "an SVG that asks for a file": b'<svg><image href="file:///etc/passwd"/></svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n",
        "a program": b"\x7fELF" + bytes(500),
        "zeros": bytes(3_000_000),
    }
    return [
        case(name, lambda content=content: whole(part("cell.png", content)), 200, row="unreadable")
        for name, content in files.items()
    ]


def bad_names() -> list[Case]:
    """Return files with names that lead elsewhere or break lines: each has its row."""
    names = {
        "a name that climbs": "../../x.png",
        "a name that climbs on Windows": r"C:\..\x.png",
        "the name of a file of the system": "/etc/passwd",
        "a name with a tab and a zero": "a\tb\0c.png",
        "a name of 900 letters": "n" * 900,
        "a name that turns the line around": "\u202egnp.x",
        "a name that is not UTF-8": b"\xff\xfe.png",
    }
    return [
        case(title, lambda name=name: whole(part(name, b"")), 200, row="unreadable")
        for title, name in names.items()
    ]


def too_much() -> list[Case]:
    """Return requests without measure."""
    endless, much = part("cell.png", b"")[:-2], [bytes(65536)] * 4000
    header, long = f"--{BOUNDARY}\r\nX-Long: ".encode(), [b"y" * 65536] * 400
    return [
        case("10,000 files", lambda: whole(*[part("c.png", b"x")] * 10_000), 413),
        case("a body of 40 MB, as it says", lambda: [head(length=40_000_000)], 413),
        case("a body of 10^30 bytes, as it says", lambda: [head(length=10**30)], 400, 413),
        case("an endless file", lambda: chunked([endless, *much]), 413),
        case("an endless header of a part", lambda: chunked([header, *long]), 413, 422),
        case("an endless header", lambda: [head()[:-2] + b"X: ", *long], 400, 431, CLOSED),
    ]


def not_files() -> list[Case]:
    """Return requests of another kind."""
    text = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n'.encode()
    nameless = f"--{BOUNDARY}\r\n\r\nx\r\n".encode()
    other, none = (f"multipart/form-data{more}" for more in ("; boundary=other", ""))
    return [
        case("no file", lambda: whole(), 422),
        case("a text in the field", lambda: whole(text), 422),
        case("another field", lambda: whole(part("c.png", b"x", field="image")), 422),
        case("a part without a name", lambda: whole(nameless), 422),
        case("another boundary", lambda: whole(part("c.png", b"x"), kind=other), 422),
        case("no boundary", lambda: whole(part("c.png", b"x"), kind=none), 422),
        case("JSON", lambda: [head(length=2, kind="application/json") + b"{}"], 422),
        case("another method", lambda: [head(length=0, method="BREW")], 405),
        case("no HTTP at all", lambda: [b"\x16\x03\x01" + bytes(range(256)) * 9], 400),
    ]


def wrong_lengths() -> list[Case]:
    """Return requests that are not as long as they say, or end before."""
    begun = head(length=5000) + part("c.png", image())[:200]
    longer = head(length=100) + body(part("c.png", image()))
    sizeless = head("Transfer-Encoding: chunked") + b"zz\r\n"
    in_the_middle = "a sender that hangs up in the middle of a file"
    before = "a sender that hangs up before the answer"
    good = whole(part("c.png", image()))
    return [
        case("a body that is shorter than it says, then nothing", lambda: [begun], 408),
        case("a body that is shorter than it says, then the end", lambda: [begun], CLOSED,
             half_close=True),
        case("a body that is longer than it says", lambda: [longer], 422),
        case("a length that is no number", lambda: [head(length="many")], 400),
        case("a negative length", lambda: [head(length=-1)], 400),
        case("two lengths", lambda: [head("Content-Length: 7", length=9)], 400),
        case("chunks of no size", lambda: [sizeless], 400, CLOSED),
        Case(in_the_middle, lambda address: hung_up(address, [begun]), (CLOSED,)),
        Case(before, lambda address: hung_up(address, good), (CLOSED,)),
    ]  # fmt: skip


def slow_ones() -> list[Case]:
    """Return requests that take their time."""
    drops = lambda: chain([head(length=9000)], slowly(part("c.png", image())))  # noqa: E731
    return [
        case("a head that comes a byte at a time", lambda: slowly(head()), CLOSED),
        case("a body that comes a byte at a time", drops, 408),
        case("a connection on which nothing comes", lambda: [], CLOSED),
    ]


def crowd(address: Address, count: int) -> dict[str, int]:
    """Open connections and leave them idle; tell how many were refused, and then hang up."""
    held, refused = [], 0
    try:
        for _ in range(count):
            held.append(socket.create_connection(address, timeout=5))
        time.sleep(0.5)
        for connection in held:
            connection.setblocking(False)
            with suppress(BlockingIOError, ConnectionResetError):
                refused += connection.recv(12) == b"HTTP/1.1 503"
    finally:
        for connection in held:
            connection.close()
    return {"opened": count, "refused": refused}


def is_well(address: Address) -> bool:
    """Tell whether the service answers a good request in good time."""
    status, _ = talk(address, [b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], wait=5)
    return status == 200
