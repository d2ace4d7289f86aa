"""The published source map: which photo each copy of the real set was made from, and its box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.runs import REFERENCE_RESULTS
from hv_utils.voc import Box, read_boxes

SOURCE_MAP = REFERENCE_RESULTS / "kaggle-sources.csv"
AFFINE = ["a00", "a01", "a02", "a10", "a11", "a12"]
BOX = ["xmin", "ymin", "xmax", "ymax"]
PHOTO_SIZE, COPY_SIZE = (480, 640), (240, 320)


def read_source_map(path: Path = SOURCE_MAP) -> pd.DataFrame:
    """Read the source map; photos and groups are strings such as `00116`, or missing."""
    return pd.read_csv(path, dtype={"photo": "string", "group": "string"})


def attach_sources(images: pd.DataFrame, source_map: pd.DataFrame | None = None) -> pd.DataFrame:
    """Add source photo, group, affine map and box to images, found by their content.

    Parameters
    ----------
    images : pandas.DataFrame
        Has a column `sha256`.
    source_map : pandas.DataFrame, optional
        As `read_source_map` gives it, which is the default.

    Returns
    -------
    pandas.DataFrame
        A copy with `cell`, `group`, `mirrored`, the affine map, the white cell's box and `visible`;
        all missing for an image that the map does not know.
    """
    if source_map is None:
        source_map = read_source_map()
    known = source_map.drop_duplicates("sha256").set_index("sha256")
    known = known.rename(columns={"photo": "cell", **{f"box_{name}": name for name in BOX}})
    columns = ["cell", "group", "mirrored", *AFFINE, *BOX, "visible"]
    return images.join(known[columns], on="sha256")


def carry_boxes(images: pd.DataFrame, *, annotations: Path) -> pd.DataFrame:
    """Add the white cell's box of the source photo, carried over to each copy.

    Parameters
    ----------
    images : pandas.DataFrame
        Has `cell` and the affine map `a00` … `a12` (photo scaled to 320x240 to copy).
    annotations : Path
        Folder of the photos' VOC files.

    Returns
    -------
    pandas.DataFrame
        A copy with `xmin, ymin, xmax, ymax` (pixels of the copy, clipped to its frame) and
        `visible`, the share of the box inside the frame, 0 to 1.
    """
    boxes = {
        cell: white_box(annotations / f"BloodImage_{cell}.xml")
        for cell in images["cell"].dropna().unique()
    }
    rows = [
        carry_box(
            boxes[row.cell], np.array([[row.a00, row.a01, row.a02], [row.a10, row.a11, row.a12]])
        )
        if pd.notna(row.cell) and boxes[row.cell] is not None
        else dict.fromkeys([*BOX, "visible"], np.nan)
        for row in images.itertuples()
    ]
    return images.join(pd.DataFrame(rows, index=images.index))


def white_box(path: Path) -> Box | None:
    """Return the largest box called WBC of a photo, None where there is none."""
    if not path.exists():
        return None
    white = [box for box in read_boxes(path) if box.name == "WBC"]
    return max(white, key=lambda box: (box.xmax - box.xmin) * (box.ymax - box.ymin), default=None)


def carry_box(box: Box, affine: np.ndarray) -> dict[str, float]:
    """Carry a box of the photo over to a copy.

    Parameters
    ----------
    box : Box
        In pixels of the photo, 640x480.
    affine : numpy.ndarray
        Shape (2, 3): photo scaled to 320x240 to copy.

    Returns
    -------
    dict
        `xmin, ymin, xmax, ymax`, the upright box around the four mapped corners, clipped to the
        frame, and `visible`.
    """
    scale = COPY_SIZE[1] / PHOTO_SIZE[1]
    corners = np.array([[x, y, 1] for x in (box.xmin, box.xmax) for y in (box.ymin, box.ymax)])
    mapped = (corners * (scale, scale, 1)) @ affine.T
    low, high = mapped.min(axis=0), mapped.max(axis=0)
    clipped_low = np.clip(low, 0, (COPY_SIZE[1], COPY_SIZE[0]))
    clipped_high = np.clip(high, 0, (COPY_SIZE[1], COPY_SIZE[0]))
    visible = np.prod(clipped_high - clipped_low) / max(np.prod(high - low), 1e-9)
    values = np.round([*clipped_low, *clipped_high], 1)
    return {**dict(zip(BOX, map(float, values), strict=True)), "visible": round(float(visible), 3)}
