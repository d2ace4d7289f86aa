"""Standard views of whole laboratories, made once and kept on disk while a model learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.fields.finder import Cell, find_cells
from hv_utils.fields.view import VIEW_SIDE, by_prominence, standard_view
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, write_text
from hv_utils.images.reading import read_image
from hv_utils.network.laboratories import BOX

STORE_SIDE = 256  # pixels: with room for turns, shifts and changes of scale
BESIDE_UM, TRIES = 9.0, 50  # from the middle of every cell; places tried in a picture
NEAR_BOX = 5  # pixels that a cell's middle may lie outside its box


@dataclass(frozen=True)
class Views:
    """Stored views of one laboratory or several.

    Attributes
    ----------
    table : pandas.DataFrame
        A row a view: `path`, `label`, `part`, `group`, `laboratory`, `found` (whether there is a
        cell at all), `boxed` (whether it is the labelled one, where that is known), `nucleus_um2`,
        and `at`, its place in the laboratory's array.
    arrays : dict of str to numpy.ndarray
        By laboratory, uint8 (N, 256, 256, 3).
    """

    table: pd.DataFrame
    arrays: dict[str, np.ndarray]

    def view(self, row: int) -> np.ndarray:
        """Return a stored view, uint8 (256, 256, 3)."""
        return self.arrays[self.table["laboratory"].iat[row]][self.table["at"].iat[row]]

    def shown(self, side: int = VIEW_SIDE) -> np.ndarray:
        """Return all views as a network sees them, uint8 (N, side, side, 3)."""
        rows = range(len(self.table))
        empty = np.zeros((0, side, side, 3), np.uint8)
        return np.stack([middle(self.view(row), side) for row in rows]) if rows else empty

    def part(self, name: str) -> Views:
        """Return the views of one part; in train those alone that show the labelled cell."""
        rows = self.table["part"] == name
        if name == "train":
            rows &= self.table["found"] & self.table["boxed"]
        return Views(self.table[rows].reset_index(drop=True), self.arrays)


def middle(view: np.ndarray, side: int = VIEW_SIDE) -> np.ndarray:
    """Return what a network sees of a stored view, in `side` pixels."""
    start = (view.shape[0] - VIEW_SIDE) // 2
    part = view[start : start + VIEW_SIDE, start : start + VIEW_SIDE]
    if side == VIEW_SIDE:
        return part
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)


def stored_views(
    cells: dict[str, pd.DataFrame],
    folder: Path,
    *,
    progress: Callable[[str], None] = print,
) -> Views:
    """Read the views of some laboratories; those that are not there yet are made.

    Parameters
    ----------
    cells : dict of str to pandas.DataFrame
        By laboratory, see `laboratories`.
    folder : Path
        Of the stored views, two files a laboratory.
    progress : callable
        Takes a line on each laboratory that is made.

    Returns
    -------
    Views
    """
    tables, arrays = [], {}
    for name, table in cells.items():
        if not (folder / f"{name}.csv").exists():
            progress(f"views of {name}: {len(table):,} pictures")
            _make_views(table, folder / name)
        made = pd.read_csv(folder / f"{name}.csv", dtype={"group": str})
        tables.append(made.assign(at=np.arange(len(made))))
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return Views(pd.concat(tables, ignore_index=True), arrays)


def views_beside(views: Views, count: int, *, seed: int = 0) -> Views:
    """Return views of the same pictures with no cell in the middle.

    Parameters
    ----------
    views : Views
    count : int
        Pictures of each laboratory that are looked at.
    seed : int
        Draws the pictures and the places.

    Returns
    -------
    Views
        At most one of each picture; fewer than `count` where cells leave no room.

    Raises
    ------
    HematoVisionError
        Where the pictures of a laboratory have no such place.
    """
    rng = np.random.default_rng(seed)
    tables, arrays = [], {}
    for name, rows in views.table.drop_duplicates("path").groupby("laboratory"):
        drawn = rows.sample(min(count, len(rows)), random_state=seed)
        shown = [_beside(read_image(path), rng) for path in drawn["path"]]
        there = [view is not None for view in shown]
        if not any(there):
            raise HematoVisionError(
                f"expected room beside the cells of {name}, but in {len(there)} pictures there is "
                "none, or no cell: take larger fields"
            )
        tables.append(drawn[there].assign(at=np.arange(sum(there))))
        arrays[str(name)] = np.stack([view for view in shown if view is not None])
    return Views(pd.concat(tables, ignore_index=True), arrays)


def _beside(image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return the stored view of a place far from all cells; None where none is known or found."""
    finding = find_cells(image)
    height, width = finding.size
    for _ in range(TRIES if finding.cells else 0):
        x, y = rng.uniform(size=2) * (width, height)
        away = [np.hypot(x - cell.x, y - cell.y) for cell in finding.cells]
        if min(away) * finding.um_per_pixel >= BESIDE_UM:
            place = replace(finding.cells[0], x=x, y=y)
            return standard_view(image, finding, place, side=STORE_SIDE)
    return None


def _make_views(cells: pd.DataFrame, stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with atomic_path(stem.with_suffix(".npy")) as temporary:
        shape = (len(cells), STORE_SIDE, STORE_SIDE, 3)
        views = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        for number, row in enumerate(cells.to_dict("records")):
            image = read_image(row["path"])
            finding = find_cells(image)
            found = by_prominence(finding)
            box = [row.pop(name, np.nan) for name in BOX]
            inside = _in_box(found, box)
            cell = found[0] if found else None
            if row["part"] == "train" and inside:
                cell = inside  # the label belongs to it; elsewhere as prediction would
            if cell is not None:
                views[number] = standard_view(image, finding, cell, side=STORE_SIDE)
            known = not np.isnan(box[0])
            area = cell.nucleus_um2 if cell else np.nan
            facts = {"found": cell is not None, "boxed": not known or bool(inside)}
            rows.append({**row, **facts, "nucleus_um2": round(area, 1)})
        views.flush()
        del views
    write_text(stem.with_suffix(".csv"), pd.DataFrame(rows).to_csv(index=False))


def _in_box(cells: list[Cell], box: list[float]) -> Cell | None:
    """Return the cell that lies in a box, the nearest to its middle; None where none does."""
    x0, y0, x1, y1 = box
    near = [
        cell
        for cell in cells
        if x0 - NEAR_BOX <= cell.x <= x1 + NEAR_BOX and y0 - NEAR_BOX <= cell.y <= y1 + NEAR_BOX
    ]
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return min(near, key=lambda cell: np.hypot(cell.x - x, cell.y - y), default=None)
