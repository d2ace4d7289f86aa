"""What a class's answers say of the items asked: how hard each is, and whom it tells apart.

Classical test theory takes the difficulty of an item as the share that answers
it rightly, and its discrimination as the correlation of a right answer with the rest of the score.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import pointbiserialr
from sklearn.metrics import cohen_kappa_score

from hv_utils.scores.differential import exact_limits

LEAST_READERS = 10
"""For a discrimination: of fewer readers a correlation says next to nothing."""


def item_table(right: np.ndarray, *, least_readers: int = LEAST_READERS) -> pd.DataFrame:
    """Return what the answers say of each item.

    Parameters
    ----------
    right : array, shape (R, N), float
        A row a reader, a column an item: 1 right, 0 wrong or no answer, NaN where it was not asked.
    least_readers : int
        With fewer of an item, its discrimination stays open.

    Returns
    -------
    DataFrame
        A row an item: `readers`, `right` (how many), `difficulty` (their share, 0…1: high is easy),
        `low` and `high` (its exact 95 % limits), `discrimination` (point-biserial correlation with
        the share right of the other items, -1…1; NaN where open, or all or none were right).
    """
    right = np.asarray(right, float)
    asked = ~np.isnan(right)
    readers, correct = asked.sum(0), np.nansum(right, 0).astype(int)
    limits = [exact_limits(k, n) for k, n in zip(correct, readers, strict=True)]
    with np.errstate(invalid="ignore"):
        share = correct / np.where(readers > 0, readers, np.nan)
    return pd.DataFrame(
        {
            "readers": readers,
            "right": correct,
            "difficulty": share,
            "low": [low for low, _ in limits],
            "high": [high for _, high in limits],
            "discrimination": [
                _discrimination(right, asked, item, least_readers) for item in range(right.shape[1])
            ],
        }
    )


def _discrimination(right: np.ndarray, asked: np.ndarray, item: int, least: int) -> float:
    others = np.arange(right.shape[1]) != item
    mine = asked[:, item] & asked[:, others].any(1)
    if mine.sum() < least:
        return np.nan
    rest = np.nanmean(right[mine][:, others], axis=1)
    one = right[mine, item]
    if np.ptp(one) == 0 or np.ptp(rest) == 0:
        return np.nan
    return float(pointbiserialr(one.astype(bool), rest).statistic)


def mean_kappa(answers: np.ndarray) -> float:
    """Return the mean of Cohen's kappa over all pairs of readers (Light, 1971).

    Parameters
    ----------
    answers : array, shape (R, N), object
        Names of classes; None where a reader gave no answer: such items do not count for a pair.

    Returns
    -------
    float
        NaN where no pair has one.
    """
    pairs = [kappa(one, other) for one, other in combinations(answers, 2)]
    known = [value for value in pairs if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Return Cohen's kappa (1960) of two lists of names, over what both have named.

    Parameters
    ----------
    first, second : array, shape (N,), object
        Names; None where there is none.

    Returns
    -------
    float
        NaN where nothing is common, or chance alone would agree always.
    """
    both = np.array([a is not None and b is not None for a, b in zip(first, second, strict=True)])
    one, other = np.asarray(first)[both], np.asarray(second)[both]
    if len({*one, *other}) < 2:
        return np.nan
    return float(cohen_kappa_score(one.astype(str), other.astype(str)))
