"""Tables that people bring: CSV as spreadsheets and other programs save it, read as text."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from hv_utils.ground.errors import HematoVisionError

WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")  # the last takes any byte
DELIMITERS = ",;\t|"
DECLARED = "sep="  # the line that tells Excel its delimiter


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV file whatever its delimiter, encoding and line ends.

    Parameters
    ----------
    path : str or Path
        Comma, semicolon, tab or bar; UTF-8 with or without a mark, UTF-16 with one, or Windows'
        western code page; any line ends.

    Returns
    -------
    pandas.DataFrame
        Text throughout, without blanks around, "" where a cell is empty; columns in lower case.
        Rows without any content are left out. Index: number of the row below the header, from 1.

    Raises
    ------
    HematoVisionError
        Where the file cannot be read, is a workbook, has no rows, or a row with more cells than
        the header.
    """
    path = Path(path)
    lines = io.StringIO(_decoded(path), newline=None).readlines()
    declared = lines[0].strip().lower() if lines else ""
    if declared.startswith(DECLARED):
        delimiter, lines = declared[len(DECLARED) :] or "\t", lines[1:]
    else:
        delimiter = max(DELIMITERS, key="".join(lines[:1]).count)
    try:
        cells = [[one.strip() for one in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise _no_table(path, str(error)) from error
    header = [name.lower() for name in (cells[0] if cells else [])]
    rows = {number: row for number, row in enumerate(cells) if number and any(row)}
    if not rows:
        raise _no_table(path, "it has no rows")
    for number, row in rows.items():
        if any(row[len(header) :]):
            raise _no_table(path, f"row {number} has {len(row)} cells, the header {len(header)}")
        row[:] = (row + [""] * len(header))[: len(header)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=header).astype(object)


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise HematoVisionError(
            f"expected a table at {path}, but it cannot be read ({error.strerror or error}): "
            "check the path"
        ) from error
    if raw.startswith(WORKBOOKS):
        raise _no_table(path, "it is a spreadsheet's workbook")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    for encoding in ENCODINGS[:-1]:
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode(ENCODINGS[-1])


def _no_table(path: Path, reason: str) -> HematoVisionError:
    return HematoVisionError(
        f"expected a table saved as CSV, but {path} is none ({reason}): "
        "save it from the spreadsheet as CSV, one row a line below the names of the columns"
    )


def column(table: pd.DataFrame, names: Sequence[str], *, path: str | Path) -> pd.Series:
    """Return the first column of a table that has one of some names.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    for name in names:
        if name in table:
            return table[name]
    raise HematoVisionError(
        f"expected a column called {' or '.join(names)} in {path}, but it has "
        f"{', '.join(name for name in table if name) or 'no names'}: name the columns in its "
        "first line"
    )
