"""Nuclei in a stained picture: dark pieces, joined where they are lobes of one nucleus."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from hv_utils.fields.stain import Stain

MIN_CONTRAST = 0.35  # of nuclei and red cells, in optical density: red cells alone stay below
SPECK_UM2 = 2.0  # a piece smaller than this is none
LOBES_APART_UM = 2.2
NUCLEUS_WIDE_UM, NUCLEUS_MOST_UM2 = 15.0, 160.0  # lobes that surpass both are of two cells


def disc(radius: int) -> np.ndarray:
    """Return a round structuring element, uint8 (2 radius + 1, 2 radius + 1)."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def find_nuclei(stain: Stain, um_per_pixel: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find the nuclei of a picture.

    Parameters
    ----------
    stain : Stain
    um_per_pixel : float
        Of the arrays in `stain`.

    Returns
    -------
    pieces : numpy.ndarray, shape (h, w), int32
        The number of the piece at each pixel, 0 for none.
    nuclei : list of numpy.ndarray, int
        The numbers of the pieces of each nucleus. Empty where nothing stands out from the red
        cells.
    """
    if stain.contrast < MIN_CONTRAST:
        return np.zeros(stain.nuclear.shape, np.int32), []
    mask = (stain.nuclei & stain.inside).astype(np.uint8)
    brush = disc(max(1, round(0.3 / um_per_pixel)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, brush)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, brush)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return pieces, _joined(pieces, stats, um_per_pixel)


def _joined(pieces: np.ndarray, stats: np.ndarray, um_per_pixel: float) -> list[np.ndarray]:
    """Join pieces that are near, nearest first, as long as they fit into one cell."""
    low, area = stats[:, :2], stats[:, cv2.CC_STAT_AREA] * um_per_pixel**2
    high = low + stats[:, 2:4]
    groups = {int(i): [int(i)] for i in np.flatnonzero(area >= SPECK_UM2) if i > 0}
    home = {i: i for i in groups}
    reach = LOBES_APART_UM / um_per_pixel
    for _, i, j in sorted(_gaps(pieces, low, high, list(groups), reach)):
        first, second = home[i], home[j]
        if first == second:
            continue
        members = groups[first] + groups[second]
        extent = (high[members].max(axis=0) - low[members].min(axis=0)).max() * um_per_pixel
        if extent <= NUCLEUS_WIDE_UM and area[members].sum() <= NUCLEUS_MOST_UM2:
            groups[first] = members
            home.update(dict.fromkeys(groups.pop(second), first))
    return [np.array(members) for members in groups.values()]


def _gaps(
    pieces: np.ndarray, low: np.ndarray, high: np.ndarray, numbers: list[int], reach: float
) -> list[tuple[float, int, int]]:
    """Return the distances within reach: pixels, and the two pieces."""
    trees: dict[int, cKDTree] = {}

    def tree(i: int) -> cKDTree:
        if i not in trees:
            (x0, y0), (x1, y1) = low[i], high[i]
            ys, xs = np.nonzero(pieces[y0:y1, x0:x1] == i)
            trees[i] = cKDTree(np.column_stack([xs + x0, ys + y0]))
        return trees[i]

    gaps = []
    for i, j in combinations(numbers, 2):
        if (np.maximum(low[i] - high[j], low[j] - high[i]) <= reach).all():
            near = tree(i).query(tree(j).data, distance_upper_bound=reach)[0].min()
            if np.isfinite(near):
                gaps.append((float(near), i, j))
    return gaps
