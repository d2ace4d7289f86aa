"""Local features of a field of view, and the affine map that two fields share.

Lowe's SIFT (`lowe2004`), its descriptors compared by Hellinger's kernel (Arandjelović, CVPR 2012),
matched both ways, fitted with RANSAC (`fischler1981`), and verified on the pixels themselves: a map
counts only where one picture, laid over the other by it, shows the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

RANSAC_PIXELS = 2.0
RANSAC_ROUNDS = 1000
MATCH_RATIO = 0.85
LEAST_INLIERS = 6
FILL_LEVEL = 12  # grey values up to here count as the black fill of an augmented copy
EDGE_PIXELS = 3  # kept away from fill and frame, where JPEG and resampling bleed


@dataclass(frozen=True)
class Features:
    """The local features of one picture.

    Attributes
    ----------
    points : numpy.ndarray
        Shape (n, 2), dtype float32: x and y in pixels, from the centre of the first pixel.
    descriptors : numpy.ndarray
        Shape (n, 128), dtype float32, each of length 1.
    """

    points: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Fit:
    """An affine map from one picture to another, and how well the pixels bear it out.

    Attributes
    ----------
    affine : numpy.ndarray
        Shape (2, 3), dtype float64: pixels of the first picture to pixels of the second.
    inliers : int
        Matches within `RANSAC_PIXELS` of the map.
    correlation : float
        Of the grey values where the first picture, mapped, lies over the second; -1 to 1.
    overlap : float
        Share of the second picture's frame that the first covers; 0 to 1.
    unexplained : float
        Share of the second picture's pixels, black fill left out, that the first does not cover.
    """

    affine: np.ndarray
    inliers: int
    correlation: float
    overlap: float
    unexplained: float

    @property
    def mirrored(self) -> bool:
        """Whether the map turns the picture over."""
        return bool(np.linalg.det(self.affine[:, :2]) < 0)

    @property
    def stretch(self) -> tuple[float, float]:
        """The least and the greatest scale of the map over all directions."""
        greatest, least = np.linalg.svd(self.affine[:, :2], compute_uv=False)
        return float(least), float(greatest)


def extract(grey: np.ndarray, *, contrast: float) -> Features:
    """Find the local features of a picture, away from its black fill.

    Parameters
    ----------
    grey : numpy.ndarray
        Shape (height, width), dtype uint8.
    contrast : float
        SIFT's contrast threshold: the lower, the more features; OpenCV's default is 0.04.

    Returns
    -------
    Features
        Perhaps none.
    """
    # Without the precise upscale every point lies a quarter pixel off, away from the mirror's own.
    detector = cv2.SIFT_create(contrastThreshold=contrast, enable_precise_upscale=True)
    keypoints, descriptors = detector.detectAndCompute(grey, not_fill(grey).astype(np.uint8))
    if descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.float32))
    totals = descriptors.sum(axis=1, keepdims=True)
    # The square root of a histogram of sum 1 has length 1: their dot product is Hellinger's kernel.
    return Features(cv2.KeyPoint.convert(keypoints), np.sqrt(descriptors / np.maximum(totals, 1)))


def mirror(features: Features) -> Features:
    """Return the descriptors that the same points have in the mirrored picture.

    A SIFT descriptor is 4x4 cells of 8 directions in the frame of its own orientation. Mirroring
    reverses the cells across that orientation and the sense of every angle, so it only reorders
    the 128 numbers. The points stay in the pixels of the unmirrored picture, so that a map fitted
    to them holds the reflection itself.
    """
    cells = features.descriptors.reshape(-1, 4, 4, 8)
    turned = cells[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]]
    return Features(features.points, np.ascontiguousarray(turned.reshape(-1, 128)))


def not_fill(grey: np.ndarray) -> np.ndarray:
    """Return where a picture shows something, shape (height, width), dtype bool."""
    kernel = np.ones((2 * EDGE_PIXELS + 1,) * 2, np.uint8)
    return cv2.erode((grey > FILL_LEVEL).astype(np.uint8), kernel).astype(bool)


def match(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """Pair the features of two pictures: mutual nearest neighbours, clearly nearer than the next.

    Returns
    -------
    tuple of numpy.ndarray
        Points of the first and of the second picture, shape (m, 2) each.
    """
    if len(first) < 2 or len(second) < 2:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    likeness = second.descriptors @ first.descriptors.T
    best = likeness.argmax(axis=1)
    rows = np.arange(len(second))
    nearest = likeness[rows, best]
    mutual = likeness.argmax(axis=0)[best] == rows
    likeness[rows, best] = -1
    # Squared distances of unit vectors are 2 - 2 cos.
    clear = 1 - nearest < MATCH_RATIO**2 * (1 - likeness.max(axis=1))
    keep = mutual & clear
    return first.points[best[keep]], second.points[rows[keep]]


def fit(
    first: np.ndarray,
    second: np.ndarray,
    matches: tuple[np.ndarray, np.ndarray],
) -> Fit | None:
    """Fit the affine map from one picture to another and verify it on the pixels.

    Parameters
    ----------
    first, second : numpy.ndarray
        Grey pictures, shape (height, width), dtype uint8.
    matches : tuple of numpy.ndarray
        Points of the first and of the second picture that may belong together, from `match`.

    Returns
    -------
    Fit or None
        None where fewer than `LEAST_INLIERS` matches agree on one map.
    """
    if len(matches[0]) < LEAST_INLIERS:
        return None
    affine, inliers = cv2.estimateAffine2D(
        *matches,
        method=cv2.RANSAC,
        ransacReprojThreshold=RANSAC_PIXELS,
        maxIters=RANSAC_ROUNDS,
        confidence=0.999,
    )
    if affine is None or not np.isfinite(affine).all() or inliers.sum() < LEAST_INLIERS:
        return None
    return Fit(affine, int(inliers.sum()), *_compare(first, second, affine))


def _compare(
    first: np.ndarray, second: np.ndarray, affine: np.ndarray
) -> tuple[float, float, float]:
    """Return correlation, overlap and unexplained share; see `Fit`."""
    size = second.shape[::-1]
    laid = cv2.warpAffine(first, affine, size)
    # The frame is zero outside `first`: after the erosion no filled pixel is left in it.
    frame = cv2.warpAffine(np.full_like(first, 255), affine, size) > 250
    kernel = np.ones((2 * EDGE_PIXELS + 1,) * 2, np.uint8)
    inside = cv2.erode(frame.astype(np.uint8), kernel, borderValue=1).astype(bool)
    near = cv2.dilate(frame.astype(np.uint8), kernel).astype(bool)
    shown = not_fill(second)
    unexplained = float(np.count_nonzero(shown & ~near) / max(1, np.count_nonzero(shown)))
    overlap = float(np.count_nonzero(frame) / frame.size)
    # No allowance for black in `second`: a photo that reaches into its fill is the wrong photo.
    return correlation(laid[inside], second[inside]), overlap, unexplained


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two lists of grey values, 0 where one is flat or short."""
    if len(first) < 500:
        return 0.0
    first = first.astype(np.float32) - first.mean(dtype=np.float32)
    second = second.astype(np.float32) - second.mean(dtype=np.float32)
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale > 0 else 0.0
