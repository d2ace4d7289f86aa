"""The images that a user names, listed on disk: a million take no more memory than a thousand."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.addresses import files_at, is_address, suffix_of
from hv_utils.images.listing import IMAGE_SUFFIXES, Listing, images_named

TABLE = """
create table images (
    given integer, path blob, bytes integer, stamp text, same blob unique,
    primary key (given, path)
) without rowid
"""


@dataclass(frozen=True)
class Listed:
    """An image file, and by what it is known again.

    Attributes
    ----------
    path : str
        Or its address, such as `s3://bucket/cell.png`.
    bytes : int or None
    stamp : str
        Differs after a change; "" where there is no file, or its store has no such thing.
    """

    path: str
    bytes: int | None
    stamp: str


class Catalogue:
    """Image files in the order in which they were added, of one argument in that of their paths.

    Parameters
    ----------
    path : Path
        A new file for the list; it may be removed when the catalogue is closed.

    Attributes
    ----------
    others : Counter
        Files that were passed over, see `listing.Listing`.
    """

    def __init__(self, path: Path) -> None:
        self.others: Counter = Counter()
        self._arguments = 0
        self._list = sqlite3.connect(path)
        self._list.execute("pragma journal_mode = off")
        self._list.execute("pragma synchronous = off")
        self._list.execute(TABLE)

    def close(self) -> None:
        """Close the file."""
        self._list.close()

    def __len__(self) -> int:
        return self._list.execute("select count(*) from images").fetchone()[0]

    def add(self, given: str | Path) -> None:
        """Add the images behind a path, a pattern or an address, but for those that are there.

        Raises
        ------
        HematoVisionError
            Where nothing is there, a folder has no images, or it cannot be read.
        """
        given = str(given)
        rows = self._at_address(given) if is_address(given) else self._on_disk(given)
        number, self._arguments = self._arguments, self._arguments + 1
        self._list.executemany(
            "insert or ignore into images values (?, ?, ?, ?, ?)", ((number, *row) for row in rows)
        )

    def parts(self, size: int) -> Iterator[list[Listed]]:
        """Yield the images, `size` at a time."""
        rows = self._list.execute("select path, bytes, stamp from images order by given, path")
        while part := rows.fetchmany(size):
            yield [Listed(os.fsdecode(path), *known) for path, *known in part]

    def left_out(self) -> str:
        """Say in a line which files were passed over, "" where none was."""
        return Listing(others=self.others).left_out()

    def _on_disk(self, given: str) -> Iterator[tuple]:
        real_folder = lru_cache(os.path.realpath)  # a folder holds many files
        for path in images_named(given, self.others, ordered=False):
            folder, name = os.path.split(path)
            real = os.path.join(real_folder(folder), name)
            if os.path.islink(path):
                real = os.path.realpath(path)
            try:
                facts = os.stat(path)
                known = (facts.st_size, str(facts.st_mtime_ns))
            except OSError:  # a file that is gone will have its row, too
                known = (None, "")
            yield os.fsencode(path), *known, os.fsencode(real)

    def _at_address(self, given: str) -> Iterator[tuple]:
        beside, none = Counter(), True
        for path, size, stamp in files_at(given):
            suffix = suffix_of(path) if is_address(path) else Path(path).suffix.lower()
            if suffix not in IMAGE_SUFFIXES and path != given:
                beside[suffix] += 1
                continue
            none = False
            yield os.fsencode(path), size, stamp, os.fsencode(path)
        self.others.update(beside)
        if none:
            raise HematoVisionError(
                f"expected images at {given}, but there are none: "
                f"{Listing(others=beside).left_out() or 'nothing lies there'}"
            )


def catalogue_of(given: Iterable[str | Path], path: Path) -> Catalogue:
    """List all that a user names, see `Catalogue.add`.

    Raises
    ------
    HematoVisionError
        For a place without images, or where none is left.
    """
    catalogue = Catalogue(path)
    for one in given:
        catalogue.add(one)
    if not len(catalogue):
        raise HematoVisionError(
            "expected images, but what was named is what a system left behind: "
            "name another folder for these"
        )
    return catalogue
