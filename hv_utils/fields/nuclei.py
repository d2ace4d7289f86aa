"""Nuclei in a stained picture: dark pieces, joined where they are lobes of one nucleus."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from hv_utils.fields.stain import Stain

MIN_CONTRAST = 0.35  # of nuclei and red cells, in optical density: red cells alone stay below
MIN_COHERENCE = 0.15  # of the stain: noise stays below
SPECK_UM2 = 2.0  # a piece smaller than this is none
LOBES_APART_UM = 2.2
NUCLEUS_WIDE_UM, NUCLEUS_MOST_UM2 = 15.0, 160.0  # lobes that surpass both are of two cells


def disc(radius: int) -> np.ndarray:
    """Return a round structuring element, uint8 (2 radius + 1, 2 radius + 1)."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def find_nuclei(stain: Stain, um_per_pixel: float) -> np.ndarray:
    """Find the nuclei of a picture.

    Parameters
    ----------
    stain : Stain
    um_per_pixel : float
        Of the arrays in `stain`.

    Returns
    -------
    numpy.ndarray, shape (h, w), int32
        The number of the nucleus at each pixel, from 1 on; 0 for none, and everywhere where
        nothing stands out from the red cells, or from noise.
    """
    if stain.contrast < MIN_CONTRAST or stain.coherence < MIN_COHERENCE:
        return np.zeros(stain.nuclear.shape, np.int32)
    mask = (stain.nuclei & stain.inside).astype(np.uint8)
    brush = disc(max(1, round(0.3 / um_per_pixel)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, brush)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, brush)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    number = np.zeros(count, np.int32)
    for nucleus, members in enumerate(_joined(pieces, stats, um_per_pixel), 1):
        number[members] = nucleus
    return number[pieces]


def _joined(pieces: np.ndarray, stats: np.ndarray, um_per_pixel: float) -> list[list[int]]:
    """Join pieces that are near, nearest first, as long as they fit into one cell."""
    low, area = stats[:, :2], stats[:, cv2.CC_STAT_AREA] * um_per_pixel**2
    high = low + stats[:, 2:4]
    large = 1 + np.flatnonzero(area[1:] >= SPECK_UM2)
    groups = {i: [i] for i in large.tolist()}
    home = {i: i for i in groups}
    for _, i, j in sorted(_gaps(pieces, low, high, large, LOBES_APART_UM / um_per_pixel)):
        first, second = home[i], home[j]
        if first == second:
            continue
        members = groups[first] + groups[second]
        extent = (high[members].max(axis=0) - low[members].min(axis=0)).max() * um_per_pixel
        if extent <= NUCLEUS_WIDE_UM and area[members].sum() <= NUCLEUS_MOST_UM2:
            groups[first] = members
            home.update(dict.fromkeys(groups.pop(second), first))
    return list(groups.values())


def _gaps(
    pieces: np.ndarray, low: np.ndarray, high: np.ndarray, large: np.ndarray, reach: float
) -> list[tuple[float, int, int]]:
    """Return the distances within reach: pixels, and the two pieces."""

    @cache
    def tree(i: int) -> cKDTree:
        (x0, y0), (x1, y1) = low[i], high[i]
        ys, xs = np.nonzero(pieces[y0:y1, x0:x1] == i)
        return cKDTree(np.column_stack([xs + x0, ys + y0]))

    gaps = []
    for place, i in enumerate(large.tolist()):
        others = large[place + 1 :]
        apart = np.maximum(low[i] - high[others], low[others] - high[i]).max(axis=1)
        for j in others[apart <= reach].tolist():
            gap = tree(i).query(tree(j).data, distance_upper_bound=reach)[0].min()
            if np.isfinite(gap):
                gaps.append((float(gap), i, j))
    return gaps
