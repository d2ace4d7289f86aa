"""Are these cells like those that a model was calibrated on? Asked of a whole folder.

How far each calibration cell lies from what was learnt is kept, class by class. A new cell's
*familiarity* is the share of the calibration cells of its class that lie at least as far: a
conformal p-value. Where cells come as the calibration cells came, one in ten is below a tenth,
whatever the share of each class; where many more are, guarantees and probabilities do not hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hv_utils.inference.ranks import Ranks

FACT = "distances"  # of a model
RARE = 0.1
LEAST_CELLS = 20
LEVEL = 1e-3  # of the test: one folder in a thousand is alarmed at without cause


class Familiarity(Ranks):
    """How far cells of each class usually lie from what was learnt, see `Novelty.score`."""

    @classmethod
    def fit(cls, distances: np.ndarray, labels: np.ndarray, n_classes: int) -> Familiarity:
        """Keep the distances, (n,), of cells that were not learnt from, by their class, (n,)."""
        return cls([np.sort(distances[labels == k]) for k in range(n_classes)])

    def p_values(self, distances: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the familiarity of cells: (N,), above 0, at most 1.

        Parameters
        ----------
        distances : numpy.ndarray, shape (N,)
        predicted : numpy.ndarray, shape (N,), int
            The class that each was taken for.
        """
        distances, predicted = np.asarray(distances, float), np.asarray(predicted)
        found = np.ones(len(distances))
        for k in np.unique(predicted):
            found[predicted == k] = self.share_as_high(distances[predicted == k], k)
        return found


@dataclass
class Strangers:
    """How many of some cells are strange: counted one by one, however many there are.

    Attributes
    ----------
    strange : int
        Cells of familiarity `RARE` or less.
    cells : int
        All of them.
    """

    strange: int = 0
    cells: int = 0

    @classmethod
    def among(cls, p_values: Iterable[float]) -> Strangers:
        """Count the strange ones among cells of these familiarities."""
        found = cls()
        for p_value in p_values:
            found.add(p_value)
        return found

    def add(self, p_value: float) -> None:
        """Count a cell of this familiarity."""
        self.strange += bool(p_value <= RARE)
        self.cells += 1


def alarm(found: Strangers) -> str:
    """Say in a line that cells are not like those that a model was calibrated on.

    Parameters
    ----------
    found : Strangers

    Returns
    -------
    str
        "" where too many strange cells could be chance (an exact binomial test, one-sided, at
        `LEVEL`), or where there are fewer than `LEAST_CELLS`.
    """
    if found.cells < LEAST_CELLS:
        return ""
    from scipy.stats import binomtest

    if binomtest(found.strange, found.cells, RARE, alternative="greater").pvalue >= LEVEL:
        return ""
    return (
        f"{found.strange:,} of these {found.cells:,} cells are stranger than nine in ten of the "
        "cells that the model was calibrated on, where one in ten would be: another laboratory, "
        "stain or camera. Probabilities and sets may not hold here; label some cells and run "
        "hv adapt"
    )
