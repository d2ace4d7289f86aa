"""Pictures out of the body of a request, in memory alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from hv_utils.images.reading import SentImage
from hv_utils.serve.limits import HUNG_UP, Limits, Refusal

FIELD = "files"
LONGEST_NAME = 255
ROOMS = 4  # requests of the largest size that are held at once


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, which else writes files above a megabyte to the disk.

    Parameters
    ----------
    most : int
        Parts.
    """

    spool_max_size = 0  # a SpooledTemporaryFile without a limit stays in memory

    def __init__(self, request: Request, stream: AsyncIterator[bytes], *, most: int) -> None:
        super().__init__(request.headers, stream)
        self._most, self._parts = most, 0

    def on_part_begin(self) -> None:
        """Count the parts while they come, as each takes memory however small it is."""
        self._parts += 1
        if self._parts > self._most:
            raise Refusal(
                413,
                f"expected at most {self._most} files in one request, but there are more: "
                "send them in several",
            )
        super().on_part_begin()


class Uploads:
    """Takes bodies in, and no more of them at once than there is room for.

    Parameters
    ----------
    limits : Limits

    Attributes
    ----------
    held : int
        Bytes of the requests at work.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    @asynccontextmanager
    async def pictures(self, request: Request) -> AsyncIterator[list[SentImage]]:
        """Read the pictures of a request; their bytes count as held while the block lasts.

        Parameters
        ----------
        request : Request
            Its body is `multipart/form-data`, with nothing but files in the field `files`.

        Yields
        ------
        list of SentImage
            In the order sent, one at least.

        Raises
        ------
        Refusal
            408 where the body comes too slowly, 413 where it is too large or has too many files,
            422 where it holds something else, 503 where the memory of others leaves no room.
        """
        taken = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal taken
            async for chunk in request.stream():
                taken += len(chunk)
                self.held += len(chunk)
                self._check(taken)
                yield chunk

        try:
            self._check_head(request)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    parser = _InMemoryParser(request, counted(), most=self.limits.files)
                    form = (await parser.parse()).multi_items()
            except TimeoutError:
                raise Refusal(
                    408,
                    f"expected the whole request within {self.limits.seconds:g} s, but it is still "
                    "coming: send fewer or smaller files",
                ) from None
            except ClientDisconnect:
                raise Refusal(HUNG_UP, "expected the rest, but nobody sends it") from None
            except MultiPartException as error:
                raise Refusal(
                    422,
                    "expected files as multipart/form-data, but the body is not whole or not "
                    "well-formed: let a library or curl -F write it",
                ) from error
            yield [self._picture(name, value) for name, value in form] or self._nothing()
        finally:
            self.held -= taken

    def _check(self, size: int) -> None:
        if size > self.limits.bytes:
            raise Refusal(
                413,
                f"expected at most {self.limits.megabytes:g} MB in one request, but it is larger: "
                "send the files in several",
            )
        if self.held > ROOMS * self.limits.bytes:
            raise Refusal(
                503,
                "expected room for the request, but others take all of the memory that is set "
                "aside for them: send it again in a moment",
            )

    def _check_head(self, request: Request) -> None:
        """Refuse what can be refused before the body is read."""
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "multipart/form-data":
            raise Refusal(
                422,
                f"expected files as multipart/form-data, but the request has "
                f"{'another content type' if kind else 'no content type'}: "
                f"send them as curl -F {FIELD}=@cell.png does",
            )
        length = request.headers.get("content-length", "")
        self._check(int(length) if length.isascii() and length.isdigit() else 0)

    def _picture(self, field: str, value: object) -> SentImage:
        if field != FIELD or isinstance(value, str):
            what = "a text" if isinstance(value, str) else "a file in another field"
            raise Refusal(
                422,
                f"expected files in the field {FIELD} and nothing else, but there is {what}: "
                "leave it out, or give it a file name if it is a picture",
            )
        with value.file as file:
            return SentImage(_one_line(value.filename), file.read(), self.limits.pixels)

    def _nothing(self) -> None:
        raise Refusal(422, f"expected files in the field {FIELD}, but there is none: add one")


def _one_line(name: str) -> str:
    """Return a name that fits into a line, whatever its sender has put into it."""
    return "".join(sign if sign.isprintable() else "?" for sign in name[:LONGEST_NAME])
