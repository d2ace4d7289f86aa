"""What `hv predict` hands over: progress and a table on the terminal, a CSV file, overlays."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hv_utils.images import read_image
from hv_utils.onnx_model import NOT_A_CELL, OK, STATUSES, UNREADABLE
from hv_utils.predict import columns
from hv_utils.runs import atomic_path

SHOWN = 40
PROGRESS_FROM = 16
PIPED_WIDTH = 240
STYLES = {"unsure": "yellow", NOT_A_CELL: "magenta", UNREADABLE: "red"}


class Report:
    """The first rows and the counts of all, whatever their number.

    Parameters
    ----------
    classes : sequence of str
    total : int
        Images to come.
    shown : int
        Rows that the table holds; of more images a summary follows.

    Attributes
    ----------
    counts : Counter
        Images by status.
    predicted : Counter
        Images with status `ok` by class.
    """

    def __init__(self, classes: Sequence[str], *, total: int, shown: int = SHOWN) -> None:
        self.classes = classes
        self.total = total
        self.shown = shown
        self.rows: list[dict] = []
        self.counts: Counter = Counter()
        self.predicted: Counter = Counter()

    def add(self, row: Mapping) -> None:
        """Take in one row of the prediction table."""
        self.counts[row["status"]] += 1
        if row["status"] == OK:
            self.predicted[row["predicted"]] += 1
        if len(self.rows) < self.shown:
            self.rows.append({name: row[name] for name in row if name != "heat_map"})

    def show(self) -> None:
        """Print the table and, where it does not hold all images, the summary."""
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = PIPED_WIDTH  # a file has no edge at which to cut
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("image", overflow="fold")
        for name in ("predicted", "status", *self.classes):
            table.add_column(name, justify="right" if name in self.classes else "left")
        folder = _common_folder([row["path"] for row in self.rows])
        for row in self.rows:
            figures = [
                "" if row["status"] == UNREADABLE else f"{row[f'prob_{name}']:.3f}"
                for name in self.classes
            ]
            table.add_row(
                os.path.relpath(row["path"], folder),
                row["predicted"],
                row["status"],
                *figures,
                style=STYLES.get(row["status"]),
            )
        console.print(table)
        if self.total > len(self.rows):
            console.print(f"… and {self.total - len(self.rows):,} more. All {self.total:,}:")
            for name in self.classes:
                console.print(f"  {name:<14}{self.predicted[name]:>9,}")
            for status in STATUSES[1:]:
                if self.counts[status]:
                    console.print(f"  {status:<14}{self.counts[status]:>9,}")


def _common_folder(paths: list[str]) -> str:
    """Return the folder that all paths share: what the rows of a table need not repeat."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])


@contextmanager
def progress(rows: Iterable[dict], *, total: int) -> Iterator[Iterable[dict]]:
    """Show a progress bar with the rate while `rows` are used, where there are many.

    Parameters
    ----------
    rows : iterable of dict
    total : int

    Yields
    ------
    iterable of dict
        The same rows.
    """
    if total < PROGRESS_FROM:
        yield rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    shown = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # On the error stream, so that the table can be redirected.
    with Progress("predicting", *shown, console=Console(stderr=True), transient=True) as bar:
        yield bar.track(rows, total=total)


@contextmanager
def csv_writer(path: str | Path, classes: Sequence[str]) -> Iterator[Callable[[Mapping], None]]:
    """Write a prediction table row by row; the file appears when the block ends without an error.

    Parameters
    ----------
    path : str or Path
    classes : sequence of str

    Yields
    ------
    callable
        Writes the row that it is given.
    """
    with (
        atomic_path(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        names = columns(classes)
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()

        def write(row: Mapping) -> None:
            empty = {name: "" for name in names if row[name] != row[name]}  # NaN
            writer.writerow({**row, **empty})

        yield write


def save_overlay(row: Mapping, folder: str | Path) -> Path | None:
    """Lay a row's heat map over its image and write it as PNG.

    Parameters
    ----------
    row : mapping
        From `predict_rows`.
    folder : str or Path
        Made where missing. An overlay is named after its image; a number keeps apart images of the
        same name.

    Returns
    -------
    Path or None
        None where the row has no heat map.
    """
    from PIL import Image

    from hv_utils.gradcam import overlay

    if row.get("heat_map") is None:
        return None
    stem = f"{Path(row['path']).stem}-cam"
    target, number = Path(folder) / f"{stem}.png", 2
    while target.exists():
        target, number = Path(folder) / f"{stem}-{number}.png", number + 1
    with atomic_path(target) as temporary:
        Image.fromarray(overlay(read_image(row["path"]), row["heat_map"])).save(temporary)
    return target
