"""What `hv predict` shows and draws: progress and a table on the terminal, overlays."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hv_utils.ground.files import atomic_path
from hv_utils.ground.predictions import prob_columns
from hv_utils.images.reading import read_image
from hv_utils.inference.familiarity import Strangers
from hv_utils.inference.onnx_model import NOT_A_CELL, OK, STATUSES, UNREADABLE

SHOWN = 40
PROGRESS_FROM = 16
PIPED_WIDTH = 240
OVERLAY_SIDE = 2000
LONGEST_STEM = 200  # bytes: a file name ends at 255
STYLES = {"unsure": "yellow", NOT_A_CELL: "magenta", UNREADABLE: "red"}


class Report:
    """The first rows and the counts of all, whatever their number.

    Parameters
    ----------
    classes : sequence of str
    shown : int
        Rows that the table holds; of more a summary follows.
    sets : bool
        Whether the table shows the sets.

    Attributes
    ----------
    images : int
        How many there were; a picture of several cells has several rows.
    counts : Counter
        Rows by status.
    predicted : Counter
        Rows with status `ok` by class.
    familiarity : Strangers
        Of the cells judged now, where the model tells it.
    """

    def __init__(self, classes: Sequence[str], *, shown: int = SHOWN, sets: bool = False) -> None:
        self.classes = classes
        self.images = 0
        self.shown = shown
        self.sets = sets
        self.rows: list[dict] = []
        self.familiarity = Strangers()
        self.counts: Counter = Counter()
        self.predicted: Counter = Counter()

    def add(self, row: Mapping) -> None:
        """Take in one row of the prediction table."""
        self.images += begins_image(row)
        self.counts[row["status"]] += 1
        if row["status"] == OK:
            self.predicted[row["predicted"]] += 1
        if "familiarity" in row:
            self.familiarity.add(row["familiarity"])
        if len(self.rows) < self.shown:
            self.rows.append({name: row[name] for name in row if name not in ("heat_map", "view")})

    def tallies(self) -> dict[str, Any]:
        """Return all counts as JSON holds them, for `take`."""
        return {
            "images": self.images,
            "counts": self.counts,
            "predicted": self.predicted,
            "familiarity": asdict(self.familiarity),
        }

    def take(self, tallies: Mapping[str, Any]) -> None:
        """Add the counts of another report; its rows are not shown."""
        self.images += tallies["images"]
        self.counts.update(tallies["counts"])
        self.predicted.update(tallies["predicted"])
        self.familiarity.strange += tallies["familiarity"]["strange"]
        self.familiarity.cells += tallies["familiarity"]["cells"]

    def text(self) -> str:
        """Return the table and, where it does not hold all images, the summary, as printed."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = PIPED_WIDTH  # a file has no edge at which to cut
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("image", overflow="fold")
        searched = any("cell" in row for row in self.rows)
        if searched:
            table.add_column("cell", justify="right")
        for name in ("predicted", "status", *(["set"] if self.sets else []), *self.classes):
            table.add_column(name, justify="right" if name in self.classes else "left")
        folder = _common_folder([row["path"] for row in self.rows])
        for row in self.rows:
            figures = [
                "" if row[name] != row[name] else f"{row[name]:.3f}"  # NaN
                for name in prob_columns(self.classes)
            ]
            table.add_row(
                Text(os.path.relpath(row["path"], folder)),  # no markup: names may hold [brackets]
                *([_whole(row.get("cell", math.nan))] if searched else []),
                row["predicted"],
                row["status"],
                *([row["set"]] if self.sets else []),
                *figures,
                style=STYLES.get(row["status"]),
            )
        with console.capture() as capture:
            console.print(table)
            for row in self.rows:
                if row.get("why"):
                    console.print(_in_a_sentence(row, folder), markup=False, soft_wrap=True)
            total = self.counts.total()
            if total > len(self.rows):
                console.print(f"… and {total - len(self.rows):,} more. All {total:,}:")
                for name in self.classes:
                    console.print(f"  {name:<14}{self.predicted[name]:>9,}")
                for status in STATUSES[1:]:
                    if self.counts[status]:
                        console.print(f"  {status:<14}{self.counts[status]:>9,}")
        return capture.get().rstrip("\n")


def begins_image(row: Mapping) -> bool:
    """Tell whether a row is the first of its image."""
    return not row.get("cell", 1) > 1  # where no cell was found it is NaN


def _in_a_sentence(row: Mapping, folder: str) -> str:
    number = f", cell {_whole(row['cell'])}" if "cell" in row else ""
    name = f"{os.path.relpath(row['path'], folder)}{number}"
    return f"{name}: {row['predicted']} {100 * row['confidence']:.0f} %: {row['why']}"


def _whole(number: float) -> str:
    return "" if number != number else f"{number:.0f}"


def _common_folder(paths: list[str]) -> str:
    """Return the folder that all paths share: what the rows of a table need not repeat."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])


@contextmanager
def progress(
    rows: Iterable[Any], *, total: int, images: Callable[[Any], int] = begins_image
) -> Iterator[Iterable[Any]]:
    """Show a progress bar while `rows` are used, where there are many and somebody looks on.

    Parameters
    ----------
    rows : iterable
        Rows of the table, or whatever `images` takes.
    total : int
        Images.
    images : callable
        Tells how many images are done with a row.

    Yields
    ------
    iterable
        The same rows.
    """
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    shown = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # On the error stream, so that the table can be redirected.
    with Progress("predicting", *shown, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting", total=total)
        yield (bar.advance(task, images(row)) or row for row in rows)


def overlay_paths(
    files: Sequence[Path], folder: str | Path, *, mark: str = "cam"
) -> dict[str, Path]:
    """Return where the overlay of each image goes.

    Parameters
    ----------
    files : sequence of Path
        All images.
    folder : str or Path
        Of the overlays. Below it stand the folders of the images, from that on which all share, so
        that an overlay's image can be found again; a number keeps `a.png` apart from `a.jpg`.
    mark : str
        What the names end in.

    Returns
    -------
    dict of str to Path
        Image to overlay, ending in `-cam.png` or another mark. The same images give the same names.
    """
    common = _common_folder([str(file) for file in files])
    times: Counter = Counter()
    paths = {}
    for file in files:
        below = Path(os.path.relpath(os.path.abspath(file), common))
        stem = os.fsencode(below.stem)[:LONGEST_STEM].decode(errors="ignore")
        name = below.with_name(f"{stem}-{mark}")
        times[name] += 1
        number = f"-{times[name]}" if times[name] > 1 else ""
        paths[str(file)] = Path(folder) / f"{name}{number}.png"
    return paths


def save_overlay(row: Mapping, path: Path) -> None:
    """Lay a row's heat map over what was judged, at most 2,000 pixels a side, and write it as PNG.

    Parameters
    ----------
    row : mapping
        From `predict_rows`; without a heat map nothing is written.
    path : Path
        Of the image's overlay; those of further cells are numbered.
    """
    from PIL import Image

    from hv_utils.images.heat_maps import overlay

    if row.get("heat_map") is None:
        return
    if row.get("cell", 1) > 1:
        path = path.with_stem(f"{path.stem}-cell{row['cell']}")
    image = Image.fromarray(row["view"] if "view" in row else read_image(row["path"]))
    image.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))  # colours take a hundred bytes a pixel
    with atomic_path(path) as temporary:
        Image.fromarray(overlay(np.asarray(image), row["heat_map"])).save(temporary)
