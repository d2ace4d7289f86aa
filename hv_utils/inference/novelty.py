"""Tell images like those of the training from images of something else.

The features of the training images are described by one Gaussian for each class with a shared
covariance; what lies far from all of them is new (Lee et al., NeurIPS 2018). The covariance keeps
its largest directions and one variance for all others (Tipping and Bishop, 1999), so that features
off the training images' subspace count too (as in ViM: Wang et al., CVPR 2022) and the statistics
stay small. Features are scaled to length 1 first (as in Sun et al., ICML 2022): what a network has
not been trained on excites it less, and short features would pass for near ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hv_utils.ground.errors import HematoVisionError

PREFIX = "novelty_"
SHRINKAGE = 0.1  # of the kept variances towards their mean
QUANTILE = 0.99


@dataclass(frozen=True)
class Novelty:
    """Statistics of the training features, and the distance beyond which an image is new.

    Attributes
    ----------
    means : numpy.ndarray
        Shape (K, D), the classes' mean features, each feature scaled to length 1.
    basis : numpy.ndarray
        Shape (D, r), orthonormal columns: the directions in which features vary within a class.
    variances : numpy.ndarray
        Shape (r,), along these directions.
    rest : float
        Variance along each other direction.
    threshold : float
        Images with a larger score are new.
    """

    means: np.ndarray
    basis: np.ndarray
    variances: np.ndarray
    rest: float
    threshold: float = float("inf")

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return the distance from the nearest class.

        Parameters
        ----------
        features : numpy.ndarray
            Shape (N, D), pooled features.

        Returns
        -------
        numpy.ndarray
            Shape (N,), float64: squared Mahalanobis distance divided by D, about 1 for images like
            those of the fit.
        """
        offsets = unit(features)[:, None] - self.means[None]
        along = offsets @ self.basis
        outside = np.maximum((offsets**2).sum(2) - (along**2).sum(2), 0)
        distances = (along**2 / self.variances).sum(2) + outside / self.rest
        return distances.min(axis=1) / offsets.shape[2]

    def is_new(self, features: np.ndarray) -> np.ndarray:
        """Return, as bool (N,), which of the features (N, D) score above the threshold."""
        return self.score(features) > self.threshold

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes; large arrays as float16."""
        return {
            f"{PREFIX}means": self.means.astype(np.float16),
            f"{PREFIX}basis": self.basis.astype(np.float16),
            f"{PREFIX}variances": self.variances.astype(np.float32),
            f"{PREFIX}rest": np.float32(self.rest),
            f"{PREFIX}threshold": np.float32(self.threshold),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Novelty | None:
        """Return the statistics stored with a model; None where there are none."""
        if f"{PREFIX}means" not in arrays:
            return None
        return cls(
            means=np.asarray(arrays[f"{PREFIX}means"], np.float64),
            basis=np.asarray(arrays[f"{PREFIX}basis"], np.float64),
            variances=np.asarray(arrays[f"{PREFIX}variances"], np.float64),
            rest=float(arrays[f"{PREFIX}rest"]),
            threshold=float(arrays[f"{PREFIX}threshold"]),
        )


def unit(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) scaled to length 1, float64."""
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def fit_novelty(
    features: np.ndarray,
    labels: np.ndarray,
    val_features: np.ndarray,
    *,
    rank: int = 64,
    quantile: float = QUANTILE,
) -> Novelty:
    """Describe the training features and choose the threshold on validation images.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (N, D), pooled features of training images.
    labels : numpy.ndarray
        Shape (N,), int: their classes.
    val_features : numpy.ndarray
        Shape (M, D). Of cells that were not trained on: on its own training images a network's
        features lie closer together than on any others.
    rank : int
        Directions kept, at most; fewer where there are few images.
    quantile : float
        Share of the validation images that the threshold lets pass.

    Returns
    -------
    Novelty

    Raises
    ------
    HematoVisionError
        Where there are fewer than three training images for a class, or no validation images.
    """
    features = unit(features)
    known, counts = np.unique(labels, return_counts=True)
    if len(features) == 0 or counts.min() < 3 or len(val_features) == 0:
        raise HematoVisionError(
            f"expected at least three training images of each class and some of validation, but "
            f"got {counts.min(initial=0)} and {len(val_features)}: take more images"
        )
    means = np.stack([features[labels == label].mean(axis=0) for label in known])
    within = features - means[np.searchsorted(known, labels)]
    degrees = len(features) - len(known)
    rank = min(rank, degrees - 1, features.shape[1] - 1)
    # The eigenvectors of the covariance are the right singular vectors of the centred features.
    _, singular, rows = np.linalg.svd(within, full_matrices=False)
    spectrum = singular**2 / degrees
    kept = spectrum[:rank]
    total = spectrum.sum()
    rest = max((total - kept.sum()) / (features.shape[1] - rank), 1e-12 * max(total, 1.0))
    variances = (1 - SHRINKAGE) * kept + SHRINKAGE * kept.mean()
    fitted = Novelty(means, rows[:rank].T, np.maximum(variances, rest), float(rest))
    stored = Novelty.from_arrays(fitted.arrays())  # the threshold fits the rounded numbers
    threshold = float(np.quantile(stored.score(val_features), quantile))
    return Novelty(stored.means, stored.basis, stored.variances, stored.rest, threshold)
