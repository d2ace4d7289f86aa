"""A picture of a smear taken apart: empty ground, red cells, nuclei.

Light that passes a stain is weakened by a factor, so optical density, the logarithm against the
empty ground, adds up (Beer and Lambert). Nuclei take red and green and let blue through, red cells
take green and blue: red + green - blue tells them apart on white ground and on yellow. The levels
of both are measured in the same picture, so no absolute colour is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

MIX = np.array([[1, 1, -1], [1 / 3, 1 / 3, 1 / 3]])  # of densities: nuclear, mean
BLACK = 40  # grey level below which a region at the edge is no part of the picture
LEAST_GROUND = 20  # grey level: darker ground would blow noise up
LEAST_PIXELS = 50  # to measure a level on
PEAK_SHARE = 0.007  # of a picture that is nuclei, at least
NUCLEUS_UM2 = 10.0  # that the darkest stain of a wide field is measured on


@dataclass(frozen=True)
class Stain:
    """A picture made small, and what is stained in it.

    Attributes
    ----------
    inside : numpy.ndarray, shape (h, w), bool
        What is no black border.
    ground : numpy.ndarray, shape (3,), float32
        Colour of the empty ground, RGB, 20 to 255.
    nuclear : numpy.ndarray, shape (h, w), float32
        Optical density of red + green - blue, smoothed: high in nuclei.
    total : numpy.ndarray, shape (h, w), float32
        Mean optical density, smoothed: 0 is ground.
    foreground : numpy.ndarray, shape (h, w), bool
        What is stained at all.
    red_level, peak_level : float
        `nuclear` in red cells, and in the picture's darkest nuclei.
    """

    inside: np.ndarray
    ground: np.ndarray
    nuclear: np.ndarray
    total: np.ndarray
    foreground: np.ndarray
    red_level: float
    peak_level: float

    @property
    def contrast(self) -> float:
        """How far nuclei stand out from red cells, in optical density."""
        return self.peak_level - self.red_level

    @property
    def nuclei(self) -> np.ndarray:
        """Bool (h, w): what is nearly as dark as the darkest nuclei."""
        return self.nuclear > self.red_level + max(0.15, 0.45 * self.contrast)

    @property
    def coherence(self) -> float:
        """Correlation of `nuclear` with itself three pixels on: 0 in noise, 0.8 in a picture."""
        part = np.where(self.inside, self.nuclear - self.nuclear[self.inside].mean(), 0)
        along = (part[:, 3:] * part[:, :-3]).mean() + (part[3:] * part[:-3]).mean()
        return float(along / 2 / max((part * part).mean(), 1e-12))

    def in_wide_field(self, um_per_pixel: float) -> Stain:
        """Measure the levels again where a nucleus is less than 0.7 % of the picture."""
        share = NUCLEUS_UM2 / um_per_pixel**2 / self.nuclear.size
        if share >= PEAK_SHARE:
            return self
        share = max(share, 25 / self.nuclear.size)
        red, peak = _levels(self.nuclear, self.foreground, self.inside, share)
        return replace(self, red_level=red, peak_level=peak)


def take_apart(image: np.ndarray, shrink: float) -> Stain:
    """Separate the stains of a picture.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    shrink : float
        Factor, above 0 and at most 1, by which the picture is made smaller first.

    Returns
    -------
    Stain
    """
    if shrink < 1:
        height, width = (round(side * shrink) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    inside = inside_border(image)
    ground = ground_colour(image, inside)
    density = cv2.transform(optical_density(image, ground).astype(np.float64), MIX)
    smooth = cv2.GaussianBlur(density, (0, 0), 0.7).astype(np.float32)  # alike on any machine
    nuclear, total = cv2.split(smooth)
    nuclear[~inside] = 0
    total[~inside] = 0
    foreground = (total > _edge_of_ground(total[inside])) & inside
    red, peak = _levels(nuclear, foreground, inside, PEAK_SHARE)
    return Stain(inside, ground, nuclear, total, foreground, red, peak)


def inside_border(image: np.ndarray) -> np.ndarray:
    """Tell the picture from the black border that augmentation or a round field leaves.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8

    Returns
    -------
    numpy.ndarray, shape (H, W), bool
        False in black regions that touch the edge, and two pixels around, where black has bled in.
    """
    dark = cv2.inRange(image, (0, 0, 0), (BLACK - 1,) * 3) & 1
    if not (dark[[0, -1]].any() or dark[:, [0, -1]].any()):
        return np.ones(dark.shape, bool)
    count, labels = cv2.connectedComponents(dark, connectivity=4)
    at_edge = np.zeros(count, np.uint8)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[side] = 1
    at_edge[0] = 0  # what is not dark
    return cv2.dilate(at_edge[labels], np.ones((5, 5), np.uint8)) == 0


def ground_colour(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the colour of the empty ground: the commonest of the bright ones.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    inside : numpy.ndarray, shape (H, W), bool
        Where to look; everywhere if it is empty.

    Returns
    -------
    numpy.ndarray, shape (3,), float32
        RGB, 20 to 255.
    """
    mask = None if inside.all() or not inside.any() else inside.astype(np.uint8)
    green = cv2.calcHist([image], [1], mask, [256], [0, 256]).ravel()
    share = np.cumsum(green) / green.sum()
    likely = (share >= 0.5) & (np.concatenate([[0], share[:-1]]) <= 0.99)
    # A peak at the top counts more: red cells may cover more of the picture than the ground does.
    peaks = np.convolve(green, np.hanning(17), "same") * (np.arange(256) / 255) ** 2
    mode = int(np.argmax(np.where(likely, peaks, -1)))
    near = cv2.inRange(image[..., 1], max(mode - 8, 0), min(mode + 8, 255))
    if mask is not None:
        near &= mask
    colour = [_median(cv2.calcHist([image], [band], near, [256], [0, 256])) for band in range(3)]
    return np.maximum(np.array(colour, np.float32), LEAST_GROUND)


def _median(counts: np.ndarray) -> int:
    below = np.cumsum(counts)
    return int(np.searchsorted(below, below[-1] / 2))


def optical_density(image: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of ground over light, band by band.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    ground : numpy.ndarray, shape (3,)
        Colour of the empty ground.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), float32
        0 is ground. Four grey levels are added to both, so that black stays finite.
    """
    levels = np.arange(256.0)[:, None] + 4
    table = np.log((ground.astype(np.float64) + 4) / levels)  # rounded last: alike on any machine
    return cv2.LUT(image, table.astype(np.float32).reshape(256, 1, 3))


def otsu(values: np.ndarray) -> float:
    """Return the threshold that parts values into two groups by Otsu's rule (1979).

    Parameters
    ----------
    values : numpy.ndarray, shape (N,), float
        N at least 1.

    Returns
    -------
    float
        The lowest value there is where all are equal.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return low
    step = (high - low) / 255
    grey = np.round((values - low) / step).astype(np.uint8)
    level, _ = cv2.threshold(grey[:, None], 0, 255, cv2.THRESH_OTSU)
    return low + (level + 0.5) * step


def _edge_of_ground(total: np.ndarray) -> float:
    """Return the mean density at which ground ends."""
    if total.size < LEAST_PIXELS:
        return 0.1
    return float(np.clip(otsu(np.clip(total, -0.1, 0.3)), 0.05, 0.15))


def _levels(
    nuclear: np.ndarray, foreground: np.ndarray, inside: np.ndarray, share: float
) -> tuple[float, float]:
    """Return the stain of red cells, and the one that a share of the picture surpasses."""
    values = nuclear[inside]
    if values.size < LEAST_PIXELS:
        return 0.0, 0.0
    peak = float(np.quantile(values, 1 - share))
    body = nuclear[foreground]
    body = body[body < 0.55 * peak]
    red = float(np.quantile(body, 0.8)) if body.size > 0.01 * values.size else 0.0
    return max(red, 0.0), peak
