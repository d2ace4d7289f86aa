"""The photos of a data set, searchable by what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hv_utils.data import local_features as local
from hv_utils.data.source_map import AFFINE
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import COPY_SIZE, read_image

PHOTO_CONTRAST = 0.02
INDEX_SEED = 0
TREES = 4
CHECKS = 16
CANDIDATES = 3

LEAST_CORRELATION = 0.8
STRETCH = (0.5, 2.0)


@dataclass(frozen=True)
class Photo:
    """One photo, ready to be compared.

    Attributes
    ----------
    name : str
        Its number as written in the file's name, such as `00116`.
    grey : numpy.ndarray
        Shape (240, 320), dtype uint8.
    features : tuple of Features
        Of the photo, and of its mirror image.
    """

    name: str
    grey: np.ndarray
    features: tuple[local.Features, local.Features]


def read_grey(path: str | Path, *, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image as 8-bit grey, shrunk to `size` (width, height) where given."""
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return grey if size is None else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def read_photo(path: str | Path, name: str) -> Photo:
    """Read one photo and find its local features.

    Raises
    ------
    ImageError
        Where it cannot be read.
    """
    grey = read_grey(path, size=COPY_SIZE[::-1])
    features = local.extract(grey, contrast=PHOTO_CONTRAST)
    return Photo(name, grey, (features, local.mirror(features)))


class PhotoIndex:
    """All photos' features in one set of randomised k-d trees (FLANN).

    Parameters
    ----------
    photos : sequence of Photo
        In the order of their names, so that of two equal photos the first is found.

    Raises
    ------
    HematoVisionError
        Where no photo shows anything that could be recognised.
    """

    def __init__(self, photos: Sequence[Photo]):
        self.photos = list(photos)
        parts = [part for photo in self.photos for part in photo.features]
        # Side 2k is photo k, side 2k+1 its mirror image.
        self._sides = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        if len(self._sides) == 0:
            raise HematoVisionError(
                f"expected photos of blood smears, but none of {len(parts) // 2} has a pattern to "
                "recognise: they are blank or damaged; fetch the archive again"
            )
        # FLANN keeps a pointer to the descriptors: they must live as long as the trees.
        self._descriptors = np.vstack([part.descriptors for part in parts])
        cv2.setRNGSeed(INDEX_SEED)
        kd_trees = {"algorithm": 1, "trees": TREES}
        self._trees = cv2.flann.Index(self._descriptors, kd_trees)

    def sides_like(
        self, features: local.Features, *, neighbours: int = 1, besides: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rank photos and mirror images by the number of features that resemble these.

        Parameters
        ----------
        features : Features
            What to look for.
        neighbours : int
            How many neighbours of each feature vote.
        besides : int, optional
            Number of a photo that does not count.

        Returns
        -------
        tuple of numpy.ndarray
            Sides (photo k is side 2k, its mirror image 2k+1), most votes first, and their votes.
        """
        if len(features) == 0:
            return np.empty(0, int), np.empty(0, int)
        found, _ = self._trees.knnSearch(
            features.descriptors, neighbours, params={"checks": CHECKS * neighbours}
        )
        sides = self._sides[found[found >= 0]]
        votes = np.bincount(sides, minlength=2 * len(self.photos))
        if besides is not None:
            votes[2 * besides : 2 * besides + 2] = 0
        order = np.argsort(-votes, kind="stable")
        order = order[votes[order] > 1]
        return order, votes[order]

    def fit_side(self, side: int, features: local.Features, grey: np.ndarray) -> local.Fit | None:
        """Fit a photo, or its mirror image, to a picture with these features."""
        photo = self.photos[side // 2]
        return local.fit(photo.grey, grey, local.match(photo.features[side % 2], features))


def affine_columns(affine: np.ndarray) -> dict[str, float]:
    """Return an affine map, shape (2, 3), as columns, rounded to far less than a pixel."""
    return {key: round(float(value), 4) for key, value in zip(AFFINE, affine.ravel(), strict=True)}


def credible(fit: local.Fit) -> bool:
    """Tell whether a map is borne out by the pixels and stretches no more than a copy may."""
    least, greatest = fit.stretch
    return fit.correlation >= LEAST_CORRELATION and STRETCH[0] <= least <= greatest <= STRETCH[1]
