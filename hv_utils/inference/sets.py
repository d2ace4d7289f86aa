"""Sets of classes with a guarantee: what cannot be excluded at a coverage that is asked for.

Conformal prediction (Vovk, Gammerman and Shafer, 2005), class by class: how unlike its true class
each calibration cell was is kept, and a class stays in the set of a new cell unless the cell is
more unlike it than nearly all cells of that class were. For cells that come as the calibration
cells came, whatever the share of each class, the set then holds the true class as often as asked.

What counts is cells: copies of one cell are one observation, so of each cell one copy calibrates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.ranks import Ranks

FACT = "sets"  # of a model
COVERAGE = 0.9
BETWEEN = "|"


class PredictionSets(Ranks):
    """What calibrates the sets: one less the probability that each cell had for its class, 0…1."""

    @classmethod
    def fit(cls, pred_probs: np.ndarray, labels: np.ndarray) -> PredictionSets:
        """Keep how unlike its true class each cell is.

        Parameters
        ----------
        pred_probs : numpy.ndarray, shape (n, K)
            Of cells that were not learnt from, one row a cell.
        labels : numpy.ndarray, shape (n,), int
        """
        unlike, labels = 1 - np.asarray(pred_probs, float), np.asarray(labels)
        return cls([np.sort(unlike[labels == k, k]) for k in range(unlike.shape[1])])

    def p_values(self, pred_probs: np.ndarray) -> np.ndarray:
        """Return for each class the share of its cells that were as unlike it: (N, K), above 0.

        The cell itself counts among them, so the fewest cells give the largest values. A class of
        which no cell calibrated is 1 and never excluded.
        """
        unlike = 1 - np.asarray(pred_probs, float)
        shares = [self.share_as_high(unlike[:, k], k) for k in range(unlike.shape[1])]
        return np.column_stack(shares)

    def sets(self, pred_probs: np.ndarray, *, coverage: float = COVERAGE) -> np.ndarray:
        """Return which classes cannot be excluded: (N, K), bool.

        The likeliest class stays, even where it could be excluded with the others: what a model is
        nearly always right about would else have empty sets, which tell nobody where to look.

        Parameters
        ----------
        pred_probs : numpy.ndarray, shape (N, K)
        coverage : float
            How often a set is to hold the true class, above 0 and below 1.
        """
        members = kept(self.p_values(pred_probs), coverage=coverage)
        members[np.arange(len(members)), np.argmax(pred_probs, axis=1)] = True
        return members


def kept(p_values: np.ndarray, *, coverage: float) -> np.ndarray:
    """Return which classes, by their p-values (N, K), stay at a coverage: bool (N, K)."""
    return p_values > 1 - check_coverage(coverage) + 1e-12


def check_coverage(coverage: float) -> float:
    """Return the coverage, or refuse one that no set can have.

    Raises
    ------
    HematoVisionError
    """
    if not 0 < coverage < 1:
        raise HematoVisionError(
            f"expected a coverage above 0 and below 1, but got {coverage:g}: 0.9 asks for sets "
            "that hold the true class nine times in ten; always, only the set of all classes does"
        )
    return coverage


def in_words(members: Sequence[bool], classes: Sequence[str]) -> str:
    """Write a set as it stands in the table: its classes between bars."""
    return BETWEEN.join(name for name, member in zip(classes, members, strict=True) if member)


def one_copy_a_cell(cells: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """Draw one copy of each cell: positions, int, in random order.

    Parameters
    ----------
    cells : sequence of str
        Cell of each image; an image of unknown cell is one by itself.
    seed : int
    """
    order = np.random.default_rng(seed).permutation(len(cells))
    names = [cells[i] if isinstance(cells[i], str) else f"\0{i}" for i in order]
    _, first = np.unique(np.array(names, object).astype(str), return_index=True)
    return order[np.sort(first)]
