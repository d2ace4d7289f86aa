"""Is there a white cell in the middle of a view at all? Asked of each view that a finder proposes.

Distance from what was learnt cannot tell: cells of another laboratory lie as far from it as red
cells do. What can is a contrast, a logistic regression between views of cells and views of the same
pictures beside every cell (negatives as in Hendrycks et al., ICLR 2019, taken from where they are
certain). It has learnt from neither noise nor photographs of other things, and refuses most of
these, too (`scripts/measure_novelty.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.novelty import unit

PREFIX = "presence_"
REFUSED = 0.9  # of validation views beside cells; a finder has sieved before
INVERSE_PENALTY = 1.0  # with a weaker one, what was never seen passes: photographs, noise


@dataclass(frozen=True)
class Presence:
    """The contrast, and what a view must score to count as one of a cell.

    Attributes
    ----------
    weights : numpy.ndarray
        Shape (D,), of pooled features scaled to length 1.
    threshold : float
        Views with a lower score show no cell.
    """

    weights: np.ndarray
    threshold: float

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return how much views look like one of a cell, (N,), of pooled features (N, D)."""
        return unit(features) @ self.weights

    def is_absent(self, features: np.ndarray) -> np.ndarray:
        """Return, as bool (N,), which of the features (N, D) are of a view without a cell."""
        return self.score(features) < self.threshold

    def knowing(self, features: np.ndarray) -> Presence:
        """Return the contrast with a threshold that lets these cells through, too."""
        return replace(self, threshold=min(self.threshold, float(self.score(features).min())))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes."""
        return {
            f"{PREFIX}weights": self.weights.astype(np.float32),
            f"{PREFIX}threshold": np.float32(self.threshold),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Presence | None:
        """Return the contrast stored with a model; None where there is none."""
        if f"{PREFIX}weights" not in arrays:
            return None
        weights = np.asarray(arrays[f"{PREFIX}weights"], np.float64)
        return cls(weights, float(arrays[f"{PREFIX}threshold"]))


def fit_presence(cells: np.ndarray, beside: np.ndarray, val_beside: np.ndarray) -> Presence:
    """Learn the contrast, and choose the threshold on validation views.

    The threshold is the lowest that still refuses `REFUSED` of the views beside cells: cells of a
    laboratory never seen score lower than those of the training, and who knows by how much.

    Parameters
    ----------
    cells, beside : numpy.ndarray
        Shapes (N, D) and (M, D), pooled features of training views of cells, and of views beside
        every cell.
    val_beside : numpy.ndarray
        Shape (V, D), of pictures that were not learnt from.

    Returns
    -------
    Presence

    Raises
    ------
    HematoVisionError
        Where there are no views of one kind.
    """
    from sklearn.linear_model import LogisticRegression

    if not min(len(cells), len(beside), len(val_beside)):
        raise HematoVisionError(
            "expected views of cells and views beside them, to train and to validate on, but got "
            f"{len(cells)}, {len(beside)} and {len(val_beside)}: take more pictures"
        )
    shown = np.repeat([1, 0], [len(cells), len(beside)])
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=3000)
    model.fit(unit(np.concatenate([cells, beside])), shown)
    weights = model.coef_[0].astype(np.float32)  # as they will be stored
    threshold = float(np.quantile(Presence(weights, 0.0).score(val_beside), REFUSED))
    return Presence(weights, threshold)
