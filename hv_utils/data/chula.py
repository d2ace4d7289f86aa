"""The source `chula`: red cells by shape, cut out of the fields of Chula-RBC-12.

Chulalongkorn University, Bangkok (Naruenatthanaset et al. 2021); MIT licence. The set gives points
and kinds, no boxes; the same reader takes the whole set and any part of it. A field is one
photograph, so cells of one field stay on one side of every split.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.data.archive import open_archive
from hv_utils.data.protocol import Contents, Place, Settings
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, cores, files_below
from hv_utils.images.reading import read_image
from hv_utils.images.red_shapes import RED_KINDS, RED_UNSORTED

TAKES = ("archive",)
PAGE = "https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset"
KINDS_IN_FILES = (*RED_KINDS[:10], RED_UNSORTED, *RED_KINDS[10:])  # the numbers in the label files
SIDE = 72  # pixels of a cut-out: a red cell has 42
NOT_SORTED = "no kind: its makers call it uncategorised"


def find(settings: Settings) -> Place:
    """Unpack the archive, and cut the cells out into the run's folder.

    Raises
    ------
    HematoVisionError
        Where none is given, or it holds another set.
    """
    if not settings.archive:
        raise HematoVisionError(
            f"expected the fields of Chula-RBC-12, but no archive was given: get it from {PAGE}, "
            "and give its path with --archive PATH"
        )
    root, facts = open_archive(settings.archive)
    fields = label_files(root)
    cut_out = settings.run.folder / "data" / "red-cells"
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda path: _cut_cells(path, cut_out), fields))
    return Place(cut_out, cut_out, {**facts, "fields": len(fields)})


def label_files(root: Path) -> list[Path]:
    """Return the label files that have a photograph, `Label/N.txt` beside `Dataset/N.jpg`.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    found = sorted(
        path
        for path in files_below(root)
        if path.parent.name == "Label" and path.suffix == ".txt" and _photograph(path).is_file()
    )
    if not found:
        raise HematoVisionError(
            f"expected fields (Dataset/N.jpg) with their cells (Label/N.txt) below {root}, but "
            f"there are none: this is not Chula-RBC-12; get it from {PAGE}"
        )
    return found


def _photograph(labels: Path) -> Path:
    return labels.parent.parent / "Dataset" / f"{labels.stem}.jpg"


def read_cells(labels: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the cells of a field: x and y of the middle in pixels, and the kind.

    Raises
    ------
    HematoVisionError
        For a line that is no such cell.
    """
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            x, y, kind = map(int, line.split())
            yield x, y, KINDS_IN_FILES[kind]
        except (ValueError, IndexError) as error:
            raise HematoVisionError(
                f"expected x, y and a kind from 0 to {len(KINDS_IN_FILES) - 1}, but line {number} "
                f"of {labels} is {line[:40]!r}: the file is damaged; fetch it again"
            ) from error


def _cut_cells(labels: Path, folder: Path) -> None:
    """Write each cell of a field, in the middle of a square, as `<kind>/<field>-<number>.png`."""
    half = SIDE // 2
    image = np.pad(read_image(_photograph(labels)), ((half, half), (half, half), (0, 0)), "edge")
    for number, (x, y, kind) in enumerate(read_cells(labels)):
        target = folder / kind / f"{labels.stem}-{number}.png"
        if not target.exists():
            with atomic_path(target) as temporary:
                cv2.imwrite(str(temporary), image[y : y + SIDE, x : x + SIDE, ::-1])


def read(place: Place) -> Contents:
    """List the cells that have a kind."""
    paths = sorted(files_below(place.images))
    kept = [path for path in paths if path.parent.name in RED_KINDS]
    files = pd.DataFrame(
        {"path": map(str, kept), "label": [path.parent.name for path in kept], "split": "train"}
    )
    left_out = [(str(path), NOT_SORTED) for path in paths if path.parent.name == RED_UNSORTED]
    return Contents(files, left_out=left_out)


def attach(
    images: pd.DataFrame, place: Place, settings: Settings
) -> tuple[pd.DataFrame, list[str]]:
    """Add the field of each cell as its group: a field has one stain, one focus, one patient."""
    unknown = pd.Series(pd.NA, index=images.index, dtype="string")
    fields = images["path"].map(lambda path: Path(path).stem.split("-")[0]).astype("string")
    about = f"fields: {fields.nunique():,} for {len(images):,} cells; each stays on one side"
    return images.assign(cell=unknown, group=fields), [about]
