"""What a probe tells the classes by: one thing taken from the start, or from the picture.

The images are those that the copies of each cell share out evenly; everything else is as in
`hv_utils.studies.ablations`.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pandas as pd

from hv_utils.network.onnx_graph import array_outputs
from hv_utils.network.preprocessing import IMAGE_SIZE, load_images
from hv_utils.scores.paired import HeldOut, collect
from hv_utils.studies.ablations import folds_of
from hv_utils.studies.probes import fit_predict, start_graph

WHOLE = "whole picture"
RANDOM = "random start weights"
GREY = "in grey"
WITHOUT_CELL = "cell painted over"
CELL_ALONE = "cell alone"
BOX = ["xmin", "ymin", "xmax", "ymax"]


def altered_features(
    table: pd.DataFrame,
    *,
    weights: str = "lite0",
    size: tuple[int, int] = IMAGE_SIZE,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Compute the frozen features of each of the `views_of` the images.

    Parameters
    ----------
    table : DataFrame
        Image table, N rows, see `views_of`.
    weights : str
        Start weights, see `weights.backbone`.
    size : tuple of int
        (height, width) in pixels.
    seed : int
        Draws the random weights.

    Returns
    -------
    dict of str to array, shape (N, 1280), float32
        One for each view, and one for the whole picture with random start weights.
    """
    views = views_of(table, size=size)
    graph, _ = start_graph(weights, size=size)
    features = {name: array_outputs(graph, images) for name, images in views.items()}
    untaught, _ = start_graph("none", size=size, seed=seed)
    return features | {RANDOM: array_outputs(untaught, views[WHOLE])}


def views_of(table: pd.DataFrame, *, size: tuple[int, int] = IMAGE_SIZE) -> dict[str, np.ndarray]:
    """Show the images whole, and with one thing taken away.

    Parameters
    ----------
    table : DataFrame
        Image table, N rows: `path`, and where known the cell's box `xmin`, `ymin`, `xmax`, `ymax`
        in pixels of the image, with `width` and `height`.
    size : tuple of int
        (height, width) in pixels.

    Returns
    -------
    dict of str to array, shape (N, *size, 3), uint8
        The whole picture; in grey; and, where all boxes are known, with the cell or with all but
        the cell painted over in the picture's median colour.
    """
    images = load_images(table["path"], size=size)
    views = {WHOLE: images, GREY: in_grey(images)}
    if set(BOX) <= set(table.columns) and table[BOX].notna().all(axis=None):
        inside = inside_boxes(table, size)
        views |= {WITHOUT_CELL: painted_over(images, inside)}
        views |= {CELL_ALONE: painted_over(images, ~inside)}
    return views


def in_grey(images: np.ndarray) -> np.ndarray:
    """Take the colour out, the brightness as the eye has it (ITU-R BT.601) kept.

    Parameters
    ----------
    images : array, shape (N, H, W, 3), uint8, RGB

    Returns
    -------
    array of the same shape and type
    """
    return np.stack(
        [cv2.cvtColor(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for i in images]
    )


def inside_boxes(table: pd.DataFrame, size: tuple[int, int]) -> np.ndarray:
    """Mark the pixels of each image in the cell's box, once it has its new size.

    A pixel more on each side: resizing smears the cell's edge that far.

    Returns
    -------
    array, shape (N, H, W), bool
    """
    scale = np.array([size[1], size[0]] * 2) / table[["width", "height"] * 2].to_numpy(float)
    boxes = table[BOX].to_numpy(float) * scale + [-1, -1, 1, 1]
    across, down = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    columns = (across >= boxes[:, [0]]) & (across <= boxes[:, [2]])
    rows = (down >= boxes[:, [1]]) & (down <= boxes[:, [3]])
    return rows[:, :, None] & columns[:, None, :]


def painted_over(images: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Paint a part of each image in the median colour of the whole.

    Parameters
    ----------
    images : array, shape (N, H, W, 3), uint8
    where : array, shape (N, H, W), bool

    Returns
    -------
    array, shape (N, H, W, 3), uint8
    """
    colours = np.median(images, axis=(1, 2)).astype(np.uint8)
    return np.where(where[..., None], colours[:, None, None], images)


def compare_ingredients(
    table: pd.DataFrame,
    features: Mapping[str, np.ndarray],
    classes: list[str],
    *,
    n_repeats: int,
    n_folds: int,
    seed: int,
) -> dict[str, HeldOut]:
    """Judge every cell by probes that learnt from the others, once for each set of features.

    Parameters
    ----------
    table : DataFrame
        Image table, N rows with `cell` and `label`.
    features : mapping of str to array, shape (N, D)
        From `altered_features`.
    classes : list of str, length K
    n_repeats, n_folds, seed
        As in `ablations.imbalance`; all sets share the folds.

    Returns
    -------
    dict of str to HeldOut
    """
    labels = table["label"].to_numpy(object)
    probs = {name: np.zeros((n_repeats, len(table), len(classes))) for name in features}
    for repeat, _, fit, score in folds_of(table, n_repeats, n_folds, seed):
        for name, rows in features.items():
            probs[name][repeat, score] = fit_predict(rows[fit], labels[fit], rows[score], classes)
    return {name: collect(table, found, classes) for name, found in probs.items()}
