"""The source `kaggle`: the real set in the layout of its archive, and its original photos."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from hv_utils.data.archive import open_archive
from hv_utils.data.layout import read_folders
from hv_utils.data.protocol import PHOTO_COLUMNS, Contents, Place, Settings
from hv_utils.data.source_map import SOURCE_MAP, attach_sources, read_source_map
from hv_utils.data.tables import column, read_table
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below, is_system
from hv_utils.images.labels import normalise_label
from hv_utils.images.voc import WHITE_CELL, annotation_path, read_boxes

DATASET = "paultimothymooney/blood-cells"
DATASET_PAGE = f"https://www.kaggle.com/datasets/{DATASET}"
TAKES = ("archive", "source_map")
SPLIT_FOLDERS = ("TRAIN", "TEST", "TEST_SIMPLE")
NUMBER = r"^(\d+)(?:[.,]0*)?$"  # a spreadsheet may make 1 into 1.0


def find(settings: Settings) -> Place:
    """Unpack the archive, or download it where none is given.

    Raises
    ------
    HematoVisionError
        Where there is no archive, it cannot be unpacked, or it holds no TRAIN folder.
    """
    root, facts = open_archive(settings.archive or download())
    return place_of(root, facts)


def place_of(root: Path, facts: dict) -> Place:
    """Return where the images of an unpacked archive lie."""
    return Place(root, find_folder(root, "TRAIN").parent, facts)


def find_folder(root: Path, name: str) -> Path:
    """Return the first folder called `name` at or below `root`.

    Downloads differ in how deep they nest, so no path is fixed; what a system left behind, such as
    the `__MACOSX` of an archive packed on a Mac, is passed over.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    for folder, subfolders, _ in os.walk(root):
        subfolders[:] = sorted(one for one in subfolders if not is_system(one))
        for found in (Path(folder), *(Path(folder) / one for one in subfolders)):
            if found.name.lower() == name.lower():
                return found
    raise HematoVisionError(
        f"expected a folder {name} somewhere below {root}, but there is none: this is not the "
        f"data set {DATASET}, or it was unpacked only in part; get it from {DATASET_PAGE}"
    )


def download() -> Path:
    """Download the data set through kagglehub, which caches it, and return its folder.

    Raises
    ------
    HematoVisionError
        Where Kaggle cannot be reached.
    """
    import kagglehub

    print(f"downloading {DATASET} from Kaggle (about 110 MB; kept for the next time)", flush=True)
    try:
        return Path(kagglehub.dataset_download(DATASET))
    except Exception as error:  # kagglehub raises its own, requests' and urllib's errors
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise HematoVisionError(
            f"could not download {DATASET} from Kaggle ({reason}): fetch the zip by hand from "
            f"{DATASET_PAGE}, put it anywhere, and give its path with --archive PATH"
        ) from error


def read(place: Place) -> Contents:
    """List the augmented copies, and the original photos with what is written about them.

    Raises
    ------
    HematoVisionError
        See `layout.read_folders`; and where there is no TEST.
    """
    files, notes = read_folders(place.images)
    if "test" not in set(files["split"]):
        raise HematoVisionError(
            f"expected a folder TEST beside TRAIN in {place.images}, but there is none: "
            "the archive was unpacked only in part; unpack it again"
        )
    photos, left_out = read_photos(place.root, set(files["label"]))
    return Contents(files, photos, left_out, notes)


def attach(
    images: pd.DataFrame, place: Place, settings: Settings
) -> tuple[pd.DataFrame, list[str]]:
    """Add what the source map knows of each image: photo, group, affine map, box.

    Raises
    ------
    HematoVisionError
        Where the map knows no image.
    """
    images = attach_sources(images, read_source_map(settings.source_map or SOURCE_MAP))
    if images["cell"].isna().all():
        raise HematoVisionError(
            f"expected the images of {DATASET}, but the source map knows none of "
            f"these {len(images):,}: they were saved again or are others, and copies of one "
            "photo could come to lie on both sides of a split. Make a map with "
            "`hv data sources --archive … --out map.csv` and give it with -p source_map map.csv"
        )
    unknown = int(images["cell"].isna().sum())
    note = f"images that the source map does not know, which lie on no side: {unknown:,}"
    return images, [note] if unknown else []


def read_photos(root: Path, classes: Collection[str]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Read the originals: labels.csv with the photo and the boxes that belong to each row.

    Parameters
    ----------
    root : Path
        The unpacked archive.
    classes : collection of str
        Those of the copies; a photo of another is doubtful.

    Returns
    -------
    photos : pandas.DataFrame
        See `sources.DataSet.photos`; empty where the archive holds no labels.csv or no photos.
    left_out : list of tuple of str
        (path, reason) of each annotation that cannot be read, and of labels.csv where some of its
        rows name no photo.
    """
    path = next((one for one in files_below(root) if one.name.lower() == "labels.csv"), None)
    if path is None:
        return pd.DataFrame(columns=PHOTO_COLUMNS), []
    table = read_table(path)
    numbers = column(table, ["image"], path=path).str.extract(NUMBER, expand=False)
    categories = column(table, ["category"], path=path)[numbers.notna()]
    try:
        folder = find_folder(root, "JPEGImages")
    except HematoVisionError:
        folder = root / "JPEGImages"
    left_out: list[tuple[str, str]] = []
    if numbers.isna().any():
        left_out.append((str(path), f"{numbers.isna().sum()} of its rows name no photo"))
    rows = [
        _photo_row(f"{int(number):05d}", category, folder, classes, left_out)
        for number, category in zip(numbers.dropna(), categories, strict=True)
    ]
    return pd.DataFrame(rows, columns=PHOTO_COLUMNS), left_out


def _photo_row(
    photo: str,
    category: str,
    folder: Path,
    classes: Collection[str],
    left_out: list[tuple[str, str]],
) -> dict:
    path = folder / f"BloodImage_{photo}.jpg"
    named = [name for name in re.split(r"\s*,\s*", category) if name]
    doubt = "blank" if not named else "several cells" if len(named) > 1 else ""
    label = normalise_label(named[0]) if not doubt else None
    if label and label not in classes:
        doubt = "another class"
    elif not path.exists():
        doubt = doubt or "photo missing"
    white_cells, annotation = 0, annotation_path(path)
    if annotation.exists():
        try:
            white_cells = sum(box.name == WHITE_CELL for box in read_boxes(annotation))
        except HematoVisionError as error:
            doubt = doubt or "annotation damaged"
            left_out.append((str(annotation), str(error)))
    return {
        "photo": photo,
        "path": str(path),
        "category": category,
        "label": label,
        "doubt": doubt,
        "white_cells": white_cells,
    }
