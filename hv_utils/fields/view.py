"""The standard view: one cell in the middle, at one scale, on neutral ground.

Pictures of 30x30, 360x363 and 4000x3000 pixels, of any laboratory, end up alike: 160x160 pixels of
0.125 µm, 20 µm across. The same picture always gives the same view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hv_utils.fields.finder import Cell, Finding
from hv_utils.fields.stain import LEAST_GROUND, inside_border, optical_density

VIEW_SIDE = 160  # pixels
VIEW_UM = 0.125  # µm a pixel: finer than the copies of the public set, which have 0.147
GROUND = 240  # grey level of the empty ground
GAINS = (0.3, 3.0)  # of a band's density, at most, where a stain gets another hue


class Middle(NamedTuple):
    """Where a cell lies: its middle, in pixels from the picture's left and upper edge."""

    x: float
    y: float


def by_prominence(finding: Finding) -> list[Cell]:
    """Return the cells, first the one that a picture with one label is most likely of.

    Parameters
    ----------
    finding : Finding

    Returns
    -------
    list of Cell
        Large ones, whole and near the middle, come first.
    """
    height, width = finding.size

    def weight(cell: Cell) -> float:
        away = np.hypot(cell.x - width / 2, cell.y - height / 2) / (min(height, width) / 2)
        return min(cell.nucleus_um2, 80.0) * (0.5 if cell.cut else 1.0) * np.exp(-0.5 * away**2)

    return sorted(finding.cells, key=weight, reverse=True)


def main_cell(finding: Finding) -> Cell | None:
    """Return the first of `by_prominence`; None where there is no cell at all."""
    return next(iter(by_prominence(finding)), None)


def neutral(image: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Scale the bands so that the empty ground becomes a light grey; the black border, too.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    ground : numpy.ndarray, shape (3,), float
        Colour of the empty ground.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    levels = np.arange(256)[:, None]
    table = np.clip(np.round(levels * (GROUND / np.maximum(ground, LEAST_GROUND))), 0, 255)
    balanced = cv2.LUT(image, table.astype(np.uint8).reshape(256, 1, 3))
    balanced[~inside_border(image)] = GROUND
    return balanced


def standard_view(
    image: np.ndarray, finding: Finding, cell: Cell | Middle, *, side: int = VIEW_SIDE
) -> np.ndarray:
    """Cut one cell out of a picture, at the standard scale.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    finding : Finding
        Of this picture, by `find_cells`.
    cell : Cell or Middle
        One of the finding's, such as `main_cell`'s, or where else to cut.
    side : int
        Of the view, in pixels of 0.125 µm.

    Returns
    -------
    numpy.ndarray, shape (side, side, 3), uint8
        What lies outside the picture has the ground's grey, 240.
    """
    zoom = finding.um_per_pixel / VIEW_UM
    half = side / 2 / zoom + 2
    x0, y0 = (max(0, int(place - half)) for place in (cell.x, cell.y))
    x1, y1 = (int(place + half + 1) for place in (cell.x, cell.y))
    part = neutral(np.ascontiguousarray(image[y0:y1, x0:x1]), finding.ground)
    shrink = min(1.0, 1.25 * zoom)
    if shrink < 0.95:  # by area first, so that granules do not alias
        size = tuple(max(1, round(length * shrink)) for length in part.shape[1::-1])
    else:
        size = part.shape[1::-1]
    across, down = size[0] / part.shape[1], size[1] / part.shape[0]
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    middle = (side - 1) / 2  # pixels' centres are at whole numbers
    x, y = (cell.x - x0) * across - 0.5, (cell.y - y0) * down - 0.5
    wider, higher = zoom / across, zoom / down
    matrix = np.array([[wider, 0, middle - wider * x], [0, higher, middle - higher * y]])
    return cv2.warpAffine(
        part,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GROUND, GROUND, GROUND),
    )


def stain_levels(view: np.ndarray) -> np.ndarray:
    """Return the optical density of the darker half of a view's middle, float32 (3,)."""
    side = view.shape[0]
    low, high = side // 2 - 40, side // 2 + 40
    density = to_density(np.ascontiguousarray(view[low:high:2, low:high:2])).reshape(-1, 3)
    total = density.sum(axis=1)
    dark = total >= np.partition(total, total.size // 2)[total.size // 2]
    return np.maximum(density[dark].mean(axis=0), 0.08).astype(np.float32)


def to_density(image: np.ndarray) -> np.ndarray:
    """Return optical density against the standard ground, float32, of a uint8 image."""
    return optical_density(image, np.full(3, GROUND))


def to_light(density: np.ndarray) -> np.ndarray:
    """Return the uint8 image of an optical density."""
    light = np.exp(-density.astype(np.float64)) * (GROUND + 4) - 4  # alike on any machine
    return np.clip(light + 0.5, 0, 255).astype(np.uint8)


def stain_hue(view: np.ndarray) -> np.ndarray:
    """Return the hue of a view's nuclear stain: the bands' shares of its density, float (3,)."""
    levels = stain_levels(view)
    return levels / levels.sum()


def in_hue(view: np.ndarray, hue: Sequence[float]) -> np.ndarray:
    """Give a view's nuclear stain another hue, as strong as it was.

    One laboratory's nuclei are blue, another's magenta. How dark they are, and what is darker than
    what, tells of the cell and stays.

    Parameters
    ----------
    view : numpy.ndarray, shape (side, side, 3), uint8
    hue : sequence of float
        As from `stain_hue`: three shares that sum to 1.

    Returns
    -------
    numpy.ndarray, shape (side, side, 3), uint8
    """
    own = stain_hue(view)
    gain = np.asarray(hue) / own
    gain = np.clip(gain / (gain * own).sum(), *GAINS).astype(np.float32)
    levels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(256, 1, 3)
    return cv2.LUT(view, to_light(to_density(levels) * gain))
