"""White cells cut out of their photos, all at one scale: the contact sheet of the book."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import read_image
from hv_utils.images.voc import Box, annotation_path, read_boxes, white_cell


def crop(image: np.ndarray, box: Box, *, side: int = 280) -> np.ndarray:
    """Cut a square about a box out of a photo, without changing its scale.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The photo.
    box : Box
        What lies in the middle, as far as the photo's edges let it.
    side : int
        Side of the square, pixels of the photo.

    Returns
    -------
    numpy.ndarray
        Shape (side, side, 3), uint8; smaller where the photo is.
    """
    height, width = image.shape[:2]
    left = (box.xmin + box.xmax + 1 - side) // 2
    top = (box.ymin + box.ymax + 1 - side) // 2
    left, top = max(min(left, width - side), 0), max(min(top, height - side), 0)
    return image[top : top + side, left : left + side]


def contact_sheet(
    photos: pd.DataFrame, *, classes: Sequence[str], per_class: int = 6, side: int = 280
) -> tuple[list[np.ndarray], list[str]]:
    """Cut out the first white cells of each class.

    Parameters
    ----------
    photos : pandas.DataFrame
        Rows with `path`, `label`, `doubt` and `white_cells`, as `sources.DataSet.photos`. Doubtful
        rows and photos without a box of a white cell are passed over.
    classes : sequence of str
        One row of the sheet each, in this order.
    per_class : int
        Columns of the sheet.
    side : int
        See `crop`.

    Returns
    -------
    images : list of numpy.ndarray
        `per_class` crops of the first class, then of the next, and so on.
    labels : list of str
        The class of each.

    Raises
    ------
    HematoVisionError
        Where a class has fewer than `per_class` cells to show.
    """
    fit = photos[(photos["doubt"] == "") & (photos["white_cells"] > 0)]
    images, labels = [], []
    for name in classes:
        rows = fit[fit["label"] == name].head(per_class)
        if len(rows) < per_class:
            raise HematoVisionError(
                f"expected {per_class} photos of class {name} with a box, but there are "
                f"{len(rows)}: show fewer a row, or draw more photos"
            )
        for path in rows["path"]:
            white = white_cell(read_boxes(annotation_path(path)))
            images.append(crop(read_image(path), white, side=side))
            labels.append(name)
    return images, labels
