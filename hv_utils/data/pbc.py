"""The source `pbc`: cells of the Hospital Clínic of Barcelona, eight kinds (Acevedo et al., 2020).

The set has no donor numbers: cells of one donor may lie on both sides of any split of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pandas as pd
from PIL import Image

from hv_utils.data.archive import open_archive
from hv_utils.data.protocol import Contents, Place, Settings
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below
from hv_utils.images.labels import KINDS
from hv_utils.images.listing import IMAGE_SUFFIXES

TAKES = ("archive",)
PAGE = "https://data.mendeley.com/datasets/snkd93bnjr/1"
FOLDER = "PBC_dataset_normal_DIB"
ODD_SIZES = ((366, 369), (369, 366))  # taken on another ground
NO_DONORS = (
    "PBC does not say which pictures are of one donor: donors may lie on both sides of the split, "
    "and the scores be too good"
)


def find(settings: Settings) -> Place:
    """Find the archive or the unpacked folder.

    Raises
    ------
    HematoVisionError
        Where none is given, or it holds another set.
    """
    if not settings.archive:
        raise HematoVisionError(
            f"expected the PBC set, but no archive was given: get it by hand from {PAGE}, and give "
            "its path with --archive PATH"
        )
    root, facts = open_archive(settings.archive)
    return Place(root, folder_in(root), facts)


def folder_in(root: Path) -> Path:
    """Return the folder of class folders, which may lie at any depth.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    for path in files_below(root):
        for folder in path.parents:
            if folder.name == FOLDER:
                return folder
    raise HematoVisionError(
        f"expected a folder {FOLDER} somewhere below {root}, but there is none: this is not the "
        f"PBC set, or it was unpacked only in part; get it from {PAGE}"
    )


def read(place: Place) -> Contents:
    """List the pictures; those of another size and all in exact duplicates are left out.

    Raises
    ------
    HematoVisionError
        Where a class is missing.
    """
    rows, left_out = [], []
    for path in sorted(files_below(place.images)):
        label = path.parent.name.lower()
        if path.suffix.lower() not in IMAGE_SUFFIXES or label not in KINDS:
            continue
        with Image.open(path) as image:
            odd = image.size in ODD_SIZES
        if odd:
            left_out.append((str(path), "another size, taken on another ground"))
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append({"path": str(path), "label": label, "split": "train", "sha256": digest})
    times = Counter(row["sha256"] for row in rows)
    left_out += [
        (row["path"], "an exact duplicate, and the labels of such differ")
        for row in rows
        if times[row["sha256"]] > 1
    ]
    kept = [row for row in rows if times[row["sha256"]] == 1]
    if missing := sorted(set(KINDS) - {row["label"] for row in kept}):
        raise HematoVisionError(
            f"expected a folder of pictures for each class of PBC below {place.images}, but there "
            f"is none of {', '.join(missing)}: unpack the whole archive"
        )
    files = pd.DataFrame(kept).drop(columns="sha256")
    return Contents(files, left_out=left_out)


def attach(
    images: pd.DataFrame, place: Place, settings: Settings
) -> tuple[pd.DataFrame, list[str]]:
    """Add empty columns: of cells and donors nothing is known."""
    unknown = pd.Series(pd.NA, index=images.index, dtype="string")
    return images.assign(cell=unknown, group=unknown), [NO_DONORS]
