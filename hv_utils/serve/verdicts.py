"""Verdicts as `hv predict` and `hv count` write them, read again for a person to review."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hv_utils.data.tables import column, read_table
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import KINDS
from hv_utils.images.voc import CORNERS
from hv_utils.inference.onnx_model import STATUSES

PROB = "prob_"
WHITE = "white"  # the kind of cell of `hv count` that has a class
MOST = 2000  # cells of one page


@dataclass(frozen=True)
class Verdict:
    """What a model said of one cell.

    Attributes
    ----------
    path : Path
        The picture, absolute.
    predicted : str
        The class; "" where there is none.
    confidence : float or None
    status : str
        One of `STATUSES`.
    probs : tuple of float or None
        One for each class of `Table.classes`; empty where the table has none.
    cell : int or None
        Number in the picture.
    middle : tuple of float or None
        x and y in pixels of the picture; None where the whole picture was judged.
    box : tuple of float or None
        xmin, ymin, xmax, ymax in pixels, where the table has them.
    members, why : str
        The columns `set` and `why`.
    """

    path: Path
    predicted: str
    confidence: float | None
    status: str
    probs: tuple[float | None, ...] = ()
    cell: int | None = None
    middle: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    members: str = ""
    why: str = ""


@dataclass(frozen=True)
class Table:
    """A table of verdicts.

    Attributes
    ----------
    path : Path
    classes : list of str
        What the model knows: the classes of the columns `prob_…`, or else those that occur.
    verdicts : list of Verdict
    """

    path: Path
    classes: list[str]
    verdicts: list[Verdict]

    def choices(self) -> list[str]:
        """Return what a person can call a cell: the classes, and the kinds of blood cell left."""
        known = set(self.classes) <= set(KINDS)
        return [*self.classes, *(kind for kind in KINDS if known and kind not in self.classes)]


def read_verdicts(path: str | Path) -> Table:
    """Read a table of `hv predict --csv` or `hv count --csv`.

    Parameters
    ----------
    path : str or Path
        Of a table of counts only the white cells are taken. Pictures are looked for from the
        working folder and from the table's own.

    Returns
    -------
    Table

    Raises
    ------
    HematoVisionError
        Where it is no such table, is not whole, has no white cell or more than MOST, or its
        pictures are no longer there.
    """
    path = Path(path).expanduser()
    if path.suffix == ".partial":
        raise HematoVisionError(
            f"expected a whole table, but {path} is one that is being written: "
            "let the same hv predict end, then review the table that it names"
        )
    rows = read_table(path)
    for name in ("path", "predicted", "confidence", "status"):
        column(rows, (name,), path=path)
    if "kind" in rows:
        rows = rows[rows["kind"] == WHITE]
    if not 0 < len(rows) <= MOST:
        hint = "review a part of the pictures at a time" if len(rows) else "look at other pictures"
        raise HematoVisionError(
            f"expected 1 to {MOST:,} white cells in {path}, but it has {len(rows):,}: {hint}"
        )
    probs = [name for name in rows if name.startswith(PROB)]
    classes = [name[len(PROB) :] for name in probs]
    classes = classes or sorted(set(rows["predicted"]) - {""})
    places = {given: _found(given, path.parent) for given in dict.fromkeys(rows["path"])}
    missing = [given for given, place in places.items() if place is None]
    # A picture that was unreadable may be one that was not there.
    needed = set(rows["path"][rows["status"] != STATUSES[-1]])
    if gone := [given for given in missing if given in needed]:
        raise HematoVisionError(
            f"expected the pictures of {path}, but {len(gone)} of {len(places)} are not there, "
            f"such as {gone[0]}: put them back, or call from the folder where hv predict was called"
        )
    read = [
        _verdict(row, number, path, places[row["path"]] or Path(row["path"]), probs)
        for number, row in zip(rows.index, rows.to_dict("records"), strict=True)
    ]
    return Table(path, classes, read)


def newer_pictures(table: Table) -> list[Path]:
    """Return the pictures that were written after the table: perhaps not what it is of."""
    written = table.path.stat().st_mtime
    paths = dict.fromkeys(one.path for one in table.verdicts if one.path.is_file())
    return [path for path in paths if path.stat().st_mtime > written]


def _found(given: str, beside: Path) -> Path | None:
    """Return where a picture lies, looked for from here and from the table's folder."""
    places = (Path(given).expanduser(), beside / given)
    return next((place.absolute() for place in places if place.is_file()), None)


def _verdict(row: dict, number: int, table: Path, place: Path, probs: Sequence[str]) -> Verdict:
    def figure(name: str) -> float | None:
        text = row.get(name, "")
        try:
            value = float(text.replace(",", ".")) if text else math.nan
        except ValueError:
            raise HematoVisionError(
                f"expected numbers in {name}, but row {number} of {table} has {text!r}: "
                "take the table as hv predict wrote it"
            ) from None
        return value if math.isfinite(value) else None

    if row["status"] not in STATUSES:
        raise HematoVisionError(
            f"expected {', '.join(STATUSES)} as status, but row {number} of {table} has "
            f"{row['status']!r}: take the table as hv predict wrote it"
        )
    middle, corners = (figure("x"), figure("y")), tuple(figure(name) for name in CORNERS)
    box = None if None in corners else corners
    if box:
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    cell = figure("cell")
    return Verdict(
        path=place,
        predicted=row["predicted"],
        confidence=figure("confidence"),
        status=row["status"],
        probs=tuple(figure(name) for name in probs),
        cell=None if cell is None else int(cell),
        middle=None if None in middle else middle,
        box=box,
        members=row.get("set", ""),
        why=row.get("why", ""),
    )
