"""The source map: which photo each copy was made from, and where its white cell went.

`hv_utils.data.recovery` makes the map from an archive; the one of the real set is published in
`results/kaggle-sources.csv` and found by content, so it serves every copy of that set.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path
from hv_utils.ground.runs import REFERENCE_RESULTS
from hv_utils.images.reading import COPY_SIZE, PHOTO_SIZE
from hv_utils.images.voc import Box, read_boxes, white_cell

SOURCE_MAP = REFERENCE_RESULTS / "kaggle-sources.csv"
AFFINE = ["a00", "a01", "a02", "a10", "a11", "a12"]
BOX = ["xmin", "ymin", "xmax", "ymax"]
MAP_COLUMNS = [
    *("path", "sha256", "photo", "group", "mirrored"),
    *AFFINE,
    "inliers",
    *(f"box_{name}" for name in BOX),
    "visible",
    "correlation",
]
KINDS = {"photo": "string", "group": "string", "mirrored": "boolean", "inliers": "Int64"}
DECIMALS = {"a00": 4, "a01": 4, "a02": 2, "a10": 4, "a11": 4, "a12": 2, "visible": 3}
LEFT_THE_FRAME = 0.5
"""A copy that shows less than this share of its cell's box no longer shows the cell."""


def write_map(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a source map as CSV, rounded to what the fit can tell.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns `MAP_COLUMNS`, such as `recovery.recover_sources` gives; others stay out.
    path : str or Path
        The file; written whole or not at all.

    Returns
    -------
    Path
        The file.
    """
    rounded = table[MAP_COLUMNS].astype(KINDS).round(DECIMALS)
    with atomic_path(Path(path)) as temporary:
        rounded.to_csv(temporary, index=False, lineterminator="\n")
    return Path(path)


def read_source_map(path: str | Path = SOURCE_MAP) -> pd.DataFrame:
    """Read a source map.

    Returns
    -------
    pandas.DataFrame
        Columns `MAP_COLUMNS`: `photo` and `group` are strings such as `00116`, `mirrored` is a
        nullable boolean, `inliers` a nullable integer; all that depends on the photo is missing
        where the photo is unknown, and the box where the photo has none.

    Raises
    ------
    HematoVisionError
        Where there is no such file, or it is no source map.
    """
    try:
        table = pd.read_csv(path, dtype=KINDS)
    except OSError as error:
        raise HematoVisionError(
            f"expected a source map at {path}, but it cannot be read ({error.strerror}): "
            "check the path, or make one with `hv data sources`"
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HematoVisionError(
            f"expected a source map, but {path} is no such table ({reason}): "
            "it is damaged or another file; make it anew with `hv data sources`"
        ) from error
    missing = [name for name in MAP_COLUMNS if name not in table]
    if missing:
        raise HematoVisionError(
            f"expected a source map, but {path} has no column {', '.join(missing[:3])}: "
            "it is another table; make a map with `hv data sources`"
        )
    return table


def attach_sources(images: pd.DataFrame, source_map: pd.DataFrame | None = None) -> pd.DataFrame:
    """Add source photo, group, affine map and box to images, found by their content.

    Parameters
    ----------
    images : pandas.DataFrame
        Has a column `sha256`, the digest of each file's content in hexadecimal.
    source_map : pandas.DataFrame, optional
        As `read_source_map` gives it, which is the default.

    Returns
    -------
    pandas.DataFrame
        A copy with `cell`, `group`, `mirrored`, the affine map, the white cell's box and `visible`;
        all missing for an image that the map does not know.

    Raises
    ------
    HematoVisionError
        Where `images` has no digests.
    """
    if "sha256" not in images:
        raise HematoVisionError(
            f"expected a column sha256 to look images up by, got {', '.join(images.columns)}: "
            "add it with files.fingerprint, as sources.inspect_images does"
        )
    if source_map is None:
        source_map = read_source_map()
    # Two byte-identical files show one photo, whichever row says so.
    known = source_map.drop_duplicates("sha256").set_index("sha256")
    known = known.rename(columns={"photo": "cell", **{f"box_{name}": name for name in BOX}})
    columns = ["cell", "group", "mirrored", *AFFINE, *BOX, "visible"]
    kept = images.drop(columns=[name for name in columns if name in images])
    return kept.join(known[columns], on="sha256")


def carry_boxes(images: pd.DataFrame, *, annotations: str | Path) -> pd.DataFrame:
    """Add the white cell's box of the source photo, carried over to each copy.

    Parameters
    ----------
    images : pandas.DataFrame
        Has `cell` and the affine map `a00` … `a12` (photo scaled to 320x240 to copy), and perhaps
        `width` and `height` in pixels, 320 and 240 otherwise.
    annotations : str or Path
        Folder of the photos' VOC files.

    Returns
    -------
    pandas.DataFrame
        A copy with `xmin, ymin, xmax, ymax` (pixels of the copy, clipped to its frame) and
        `visible`, the share of the box inside the frame, 0 to 1; missing where the source or its
        box is not known.
    """
    found = white_boxes(images["cell"].dropna().unique(), Path(annotations))
    unknown = (np.nan,) * 4
    corners = [
        [getattr(found[cell], name) for name in BOX] if found.get(cell) else unknown
        for cell in images["cell"].fillna("")
    ]
    affine = images[AFFINE].to_numpy(float, na_value=np.nan).reshape(-1, 2, 3)
    height, width = (
        images[name].to_numpy(float, na_value=np.nan) if name in images else np.full(len(images), n)
        for name, n in zip(("height", "width"), COPY_SIZE, strict=True)
    )
    boxes, visible = carry(np.array(corners, float).reshape(-1, 4), affine, (height, width))
    boxes = np.round(boxes, 1) + 0.0  # no -0.0 in the table
    columns = dict(zip(BOX, boxes.T, strict=True))
    return images.assign(**columns, visible=np.round(visible, 3))


def carry(
    boxes: np.ndarray, affine: np.ndarray, size: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Carry boxes of photos over to copies.

    A white cell is roundish, so what is carried is the ellipse that fills the box; the upright box
    around it is as tight on the cell as the first. The upright box around the four turned corners
    would grow by two fifths at 20 degrees.

    Parameters
    ----------
    boxes : numpy.ndarray
        Shape (N, 4): xmin, ymin, xmax, ymax in pixels of the photo, 640x480.
    affine : numpy.ndarray
        Shape (N, 2, 3): centres of pixels of the photo scaled to 320x240 to those of the copy.
    size : tuple of numpy.ndarray
        Heights and widths of the copies in pixels, shape (N,) each.

    Returns
    -------
    boxes : numpy.ndarray
        Shape (N, 4), pixels of the copy, clipped to its frame.
    visible : numpy.ndarray
        Shape (N,): share of the carried box inside the frame, 0 to 1.
    """
    scale = COPY_SIZE[1] / PHOTO_SIZE[1]
    low, high = boxes[:, :2] * scale, boxes[:, 2:] * scale
    # A box counts from pixels' edges, a map from their centres, half a pixel further in.
    centre = np.einsum("nij,nj->ni", affine[:, :, :2], (low + high) / 2 - 0.5)
    centre += affine[:, :, 2] + 0.5
    reach = np.sqrt(np.einsum("nij,nj->ni", affine[:, :, :2] ** 2, ((high - low) / 2) ** 2))
    frame = np.stack([size[1], size[0]], axis=1)
    clipped_low = np.clip(centre - reach, 0, frame)
    clipped_high = np.clip(centre + reach, 0, frame)
    inside = np.prod(clipped_high - clipped_low, axis=1)
    visible = inside / np.maximum(np.prod(2 * reach, axis=1), 1e-9)
    return np.hstack([clipped_low, clipped_high]), np.clip(visible, 0, 1)


def white_boxes(photos: list[str], annotations: Path) -> dict[str, Box]:
    """Return the white cell's box of each photo that has one.

    Parameters
    ----------
    photos : list of str
        Numbers such as `00116`.
    annotations : Path
        Folder of VOC files; a photo without one has no box, and a damaged one gives a warning.

    Returns
    -------
    dict of str to Box
    """
    files = {}
    for path in sorted(annotations.glob("*.xml")):
        digits = re.findall(r"\d+", path.stem)
        if digits:
            files[digits[-1]] = path
    boxes = {photo: _white_cell(files[photo]) for photo in photos if photo in files}
    return {photo: box for photo, box in boxes.items() if box is not None}


def _white_cell(path: Path) -> Box | None:
    try:
        return white_cell(read_boxes(path))
    except HematoVisionError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
