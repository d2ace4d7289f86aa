"""The file of a prediction table: each row is kept as it comes, and the same command goes on."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.listing import IMAGE_SUFFIXES
from hv_utils.inference.preparation import PLACE

TEXTS = ("path", "kind", "predicted", "status", "set", "why")
SEVERAL = {PLACE[0], "kind"}  # columns of tables in which an image may have several rows
KEY_DIGITS = 12
UNTEXT = "backslashreplace"  # a name that is not UTF-8 must not cost the table


def table_key(files: Iterable[Path], about: Mapping[str, Any]) -> str:
    """Return a digest of what a table follows from: the images in their order, and the rest.

    Parameters
    ----------
    files : iterable of Path
        Each counts by its path, size and time of change.
    about : mapping
        The model and the settings: what JSON can hold.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for file in files:
        with suppress(OSError):  # a file that is gone will have its row, too
            facts = os.stat(file)
            digest.update(f"{facts.st_size} {facts.st_mtime_ns} ".encode())
        digest.update(os.fsencode(file) + b"\0")
    return digest.hexdigest()[:KEY_DIGITS]


class TableFile:
    """A prediction table that is being written.

    Parameters
    ----------
    file : text file
        Open for reading and appending.
    names : sequence of str
        The columns, see `predict.columns`.
    """

    def __init__(self, file: TextIO, names: Sequence[str]) -> None:
        self._file = file
        self._names = list(names)
        self._write = csv.writer(file, lineterminator="\n").writerow

    def kept(self, files: Sequence[Path], *, batch_size: int) -> Iterator[dict]:
        """Yield the rows that an earlier run has left, drop half a row, and make ready to write.

        Parameters
        ----------
        files : sequence of Path
            The images of the whole table.
        batch_size : int
            Rows are kept in whole batches, so that those to come are what they would have been.

        Yields
        ------
        dict
            Rows of the prediction table, those of the first images; no reason is known any more.
        """
        whole = 0
        if self._file.readable():  # a pipe is not
            lines = _Lines(self._file.buffer)
            rows = csv.reader(lines)
            if next(rows, None) == self._names:
                whole = lines.position
                images, waiting = self._images(rows, lines), iter(files)
                while batch := list(islice(waiting, batch_size)):
                    found = list(islice(images, len(batch)))
                    if [path for path, _, _ in found] != [_as_read(path) for path in batch]:
                        break
                    for path, (_, group, _) in zip(batch, found, strict=True):
                        yield from ({**row, "path": str(path), "reason": ""} for row in group)
                    whole = found[-1][2]
            self._file.buffer.truncate(whole)
        if not whole:
            self._write(self._names)

    def _images(
        self, rows: Iterator[list[str]], lines: _Lines
    ) -> Iterator[tuple[str, list[dict], int]]:
        """Yield the images of a table: path, rows, and where in the file they end.

        Of the last image cells may be missing: it is left out where an image can have several.
        """
        several = not SEVERAL.isdisjoint(self._names)
        group, end = [], 0
        for cells in rows:
            row = self._parsed(cells)
            if row is None:
                break
            if group and not (several and row["path"] == group[0]["path"]):
                yield group[0]["path"], group, end
                group = []
            group.append(row)
            end = lines.position
        if group and not several:
            yield group[0]["path"], group, end

    def _parsed(self, cells: list[str]) -> dict | None:
        """Return a row of the table; None where it is not whole."""
        try:
            named = dict(zip(self._names, cells, strict=True))
            return {
                name: text if name in TEXTS else float(text or "nan")
                for name, text in named.items()
            }
        except ValueError:
            return None

    def write(self, row: Mapping) -> None:
        """Append a row of the prediction table; from then on no kill takes it back."""
        self._write(["" if row[name] != row[name] else row[name] for name in self._names])  # NaN


def _as_read(path: Path) -> str:
    """Return a path as it reads after it was written."""
    return str(path).encode(errors=UNTEXT).decode()


class _Lines:
    """The whole lines of a file, from its start, and how many bytes they take so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.position = file.seek(0)
        self._file = file

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise StopIteration
        self.position += len(line)
        return line.decode(errors="replace")


@contextmanager
def table_file(path: str | Path, names: Sequence[str], *, key: str) -> Iterator[TableFile]:
    """Open the file of a prediction table, which appears when the block ends without an error.

    Until then the rows lie beside it in `<name>.<key>.partial`, where an interrupt, a kill or a
    full disk leaves them; a later call with the same key finds them there. A pipe or a device such
    as `/dev/stdout` is written as it is.

    Parameters
    ----------
    path : str or Path
        A link stays a link: the file that it names is written.
    names : sequence of str
        The columns.
    key : str
        See `table_key`.

    Yields
    ------
    TableFile
        `kept` comes first, then `write`.

    Raises
    ------
    HematoVisionError
        Where the path names an image: probably one of those to be judged, after `--csv` without a
        name; where it cannot be written, or another process is writing it.
    """
    if Path(path).suffix.lower() in IMAGE_SUFFIXES:
        raise HematoVisionError(
            f"expected the name of a table behind --csv, but {path} is that of an image: "
            "name the table first, as in --csv verdicts.csv"
        )
    stream = os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))
    path = Path(path if stream else os.path.realpath(path))
    partial = path if stream else path.with_name(f"{path.name}.{key}.partial")
    options = {"encoding": "utf-8", "errors": UNTEXT, "newline": "", "buffering": 1}
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("w" if stream else "a+", **options)
    except OSError as error:
        raise HematoVisionError(
            f"expected a place that can be written, but {path} cannot be "
            f"({error.strerror or error}): choose another, make room or mend the permissions"
        ) from error
    with file:
        if not stream:
            _hold(file, partial)
        yield TableFile(file, names)
        if not stream:
            os.fsync(file.fileno())
    if not stream:
        partial.replace(path)
        for obsolete in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
            obsolete.unlink(missing_ok=True)


def _hold(file: TextIO, partial: Path) -> None:
    """Keep other processes from a partial file; on Windows two cannot rename what both have open.

    Raises
    ------
    HematoVisionError
        Where another process holds it, or has held and renamed it since it was opened.
    """
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(partial))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise HematoVisionError(
                f"expected {partial} to be written by one command at a time, but another one is "
                "at it: wait until that one has ended, or name another table"
            )
