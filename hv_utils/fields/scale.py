"""The ruler: how many µm a pixel has, by the red cells in view, which are 7.5 µm wide.

Each point of an outline votes for the middles of circles of many radii on its dark side: a Hough
transform that knows inside from outside, so that the pale middles of red cells do not vote
(Kimme, Ballard and Sklansky 1975). The radius whose votes are most bundled is that of a red cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hv_utils.fields.stain import Stain, take_apart
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import RED_CELL_UM

RED_CELL = sum(RED_CELL_UM) / 2  # µm
UM_LIMITS = (0.01, 2.0)  # µm a pixel: beyond, a white cell fills the picture or a dozen pixels
WORK_SIDE = 240  # longest side, in pixels, at which a picture is first looked at
LEAST_SIDE = 16  # shortest side, in pixels
RED_AT_WORK = 20.0  # diameter of a red cell, in pixels, at which fields are looked at
STEP = 1.2  # from one radius that is tried to the next
RADII = 3.5 * STEP ** np.arange(15)  # of red cells, in work pixels
POWER = 1.75  # makes up for the longer outline of larger circles; any of 1.5 to 2 serves
OUTLINE_BIAS = 1.06  # the steepest part of an outline lies inside it
MAX_POINTS = 2500  # of outlines that vote
MIN_RED = 2.0  # red cells that make a ruler
USUAL_NUCLEUS = 50.0  # µm², of a white cell: the ruler where no red cell is in view
NUCLEUS_FLOOR, NUCLEUS_SPREAD = 0.003, 0.35  # how much the scale by the nucleus weighs; in log


@dataclass(frozen=True)
class Scale:
    """The scale of a picture.

    Attributes
    ----------
    um_per_pixel : float
        In µm a pixel of the picture as it came.
    ruler : str
        What it was taken from: `given`, `red cells`, `white cell` (its nucleus has the usual
        50 µm²) or `none` (a guess).
    n_red : float
        About how many red cells were measured.
    shrink : float
        Factor, at most 1, by which the picture is made smaller to look for cells.
    """

    um_per_pixel: float
    ruler: str
    n_red: float
    shrink: float

    @property
    def um_at_work(self) -> float:
        """µm a pixel of the smaller picture."""
        return self.um_per_pixel / self.shrink


def measure_scale(image: np.ndarray, um_per_pixel: float | None = None) -> tuple[Scale, Stain]:
    """Measure the scale of a picture, or take the one that is known.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB, sides of at least 16 pixels.
    um_per_pixel : float, optional
        Where it is known, 0.01 to 2 µm a pixel.

    Returns
    -------
    scale : Scale
    stain : Stain
        The picture taken apart, smaller by `scale.shrink`.

    Raises
    ------
    HematoVisionError
        For a scale that no picture of a smear has, and for a picture too small to show a cell.
    """
    check_scale(um_per_pixel)
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise HematoVisionError(
            f"expected a picture with sides of at least {LEAST_SIDE} pixels, but got {width}x"
            f"{height} (a thumbnail?): give the picture as the camera took it"
        )
    shrink = min(1.0, max(WORK_SIDE / max(height, width), LEAST_SIDE / min(height, width)))
    if um_per_pixel is not None:
        shrink = min(1.0, max(shrink, um_per_pixel * RED_AT_WORK / RED_CELL))
        return Scale(um_per_pixel, "given", 0.0, shrink), take_apart(image, shrink)
    stain = take_apart(image, shrink)
    diameter, n_red = _red_cells(stain)
    if n_red >= MIN_RED and shrink < 1 and diameter < 0.75 * RED_AT_WORK:  # a wide field
        shrink = min(1.0, shrink * RED_AT_WORK / diameter)
        stain = take_apart(image, shrink)
        diameter, n_red = _red_cells(stain)
    um_at_work, ruler = _chosen(stain, diameter, n_red, shrink)
    return Scale(um_at_work * shrink, ruler, n_red, shrink), stain


def check_scale(um_per_pixel: float | None) -> None:
    """Refuse a scale that no picture of a smear has.

    Parameters
    ----------
    um_per_pixel : float or None
        In µm a pixel; None, for unknown, passes.

    Raises
    ------
    HematoVisionError
        For a scale outside 0.01 to 2, or one that is no number.
    """
    low, high = UM_LIMITS
    if um_per_pixel is not None and not low <= um_per_pixel <= high:
        raise HematoVisionError(
            f"expected a scale from {low:g} to {high:g} µm a pixel, but got {um_per_pixel:g} (nm, "
            "or pixels a µm?): give µm a pixel, often near 0.1 with an oil immersion lens, or "
            "leave it out to measure the red cells"
        )


def _chosen(stain: Stain, diameter: float, n_red: float, shrink: float) -> tuple[float, str]:
    """Return µm a work pixel, and what it is taken from."""
    if n_red >= MIN_RED and diameter > 0:
        return RED_CELL / diameter, "red cells"
    own = _by_nucleus(stain)
    if own is not None:
        return own, "white cell"
    return (RED_CELL / diameter, "red cells") if diameter > 0 else (0.1 / shrink, "none")


def _by_nucleus(stain: Stain) -> float | None:
    """Return µm a work pixel if the largest nucleus has the usual area; None without one."""
    mask = cv2.morphologyEx(stain.nuclei.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    area = int(mask[labels == largest].sum())
    return float(np.sqrt(USUAL_NUCLEUS / area)) if area >= 20 else None


def _red_cells(stain: Stain) -> tuple[float, float]:
    """Measure the red cells: diameter in work pixels, and about how many were seen; 0 for none.

    A nucleus in view makes radii more likely that would give it a usual size.
    """
    own = _by_nucleus(stain)
    points = _outlines(stain, apart=4.0 if own is None else max(4.0, 4.0 / own))
    if points is None:
        return 0.0, 0.0
    radii = RADII[max(stain.total.shape) > 2 * RADII]
    bundled, highest = _votes(points, stain.total.shape, radii)
    power = bundled * radii**POWER
    if own is not None:
        away = np.log(radii / (RED_CELL / own / 2)) / NUCLEUS_SPREAD
        power = power * (NUCLEUS_FLOOR + np.exp(-0.5 * away**2))
    best = int(np.argmax(power))
    count = bundled[best] / max(highest[best], 1e-12) * 2 / np.pi
    return float(2 * _between(radii, power, best) * OUTLINE_BIAS), float(count)


def _outlines(stain: Stain, apart: float) -> tuple[np.ndarray, ...] | None:
    """Return points of outlines, `apart` pixels from nuclei: x, y, way to the dark side, weight."""
    # In double precision: how single rounds hangs on the processor, and votes hang on that.
    smooth = cv2.GaussianBlur(stain.total.astype(np.float64), (0, 0), 1.1)
    across, down = (cv2.Sobel(smooth, cv2.CV_64F, *way) for way in ((1, 0), (0, 1)))
    steep = np.sqrt(across * across + down * down)
    away = cv2.distanceTransform((~stain.nuclei).astype(np.uint8), cv2.DIST_L2, 3)
    allowed = (stain.inside & (away >= apart)).astype(np.uint8)
    allowed = cv2.erode(allowed, np.ones((5, 5), np.uint8), borderValue=0) > 0
    if allowed.sum() < 100:
        return None
    usual = float(np.quantile(steep[allowed], 0.9))
    ys, xs = np.nonzero((steep > 0.35 * usual) & allowed)
    if ys.size < 20:
        return None
    if ys.size > MAX_POINTS:
        kept = np.random.default_rng(0).permutation(ys.size)[:MAX_POINTS]
        ys, xs = ys[kept], xs[kept]
    slope = steep[ys, xs]
    weight = np.minimum(slope, 1.5 * usual)
    return xs, ys, across[ys, xs] / slope, down[ys, xs] / slope, weight


def _votes(
    points: tuple[np.ndarray, ...], shape: tuple[int, ...], radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how bundled the votes for each radius are, and the largest bundle of each."""
    xs, ys, to_x, to_y, weight = points
    pad = 12
    tall, wide = shape[0] // 2 + 2 * pad, shape[1] // 2 + 2 * pad  # middles, on a grid of 2 pixels
    column = ((xs + radii[:, None] * to_x) * 0.5 + pad).astype(np.int32)
    row = ((ys + radii[:, None] * to_y) * 0.5 + pad).astype(np.int32)
    seen = (column >= 0) & (column < wide) & (row >= 0) & (row < tall)
    layer = np.arange(radii.size, dtype=np.int32)[:, None] * (tall * wide)
    place = np.where(seen, row * wide + column, 0) + layer
    counted = np.where(seen, weight, 0.0)
    votes = np.bincount(place.ravel(), counted.ravel(), minlength=radii.size * tall * wide)
    votes = votes.reshape(radii.size, tall, wide)
    bundled, highest = np.zeros(radii.size), np.zeros(radii.size)
    for index, radius in enumerate(radii):
        spread = max(0.7, 0.07 * float(radius))
        smooth = cv2.GaussianBlur(votes[index], (0, 0), spread) * (spread * spread / float(radius))
        squared = (smooth * smooth).ravel()
        bundled[index] = float((squared * squared).sum()) / (spread * spread)
        highest[index] = float(squared.max()) ** 2
    return bundled, highest


def _between(radii: np.ndarray, power: np.ndarray, best: int) -> float:
    """Return the radius of the peak between those tried: top of a parabola in the logarithms."""
    if best in (0, radii.size - 1):
        return float(radii[best])
    left, middle, right = np.log(np.maximum(power[best - 1 : best + 2], 1e-30))
    bend = left - 2 * middle + right
    offset = 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
    return float(radii[best] * STEP**offset)
