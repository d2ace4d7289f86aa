"""Do sets of classes keep their promise? It hangs on what calibrates them, as a score does.

Calibrated on images whose siblings were learnt from, the sets of unseen cells are too small; on
every copy of unseen cells, they are as sure as if each copy were a cell. One copy of each cell is
what a promise about cells can rest on. Which copy is drawn, the sets hang on; drawn again and again
and the p-values averaged (Dunn, Wasserman and Ramdas, 2022), they do so less, and pay with a weaker
promise: a mean of p-values may miss up to twice as often, though it seldom does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.predictions import from_predictions
from hv_utils.inference.sets import PredictionSets, one_copy_a_cell
from hv_utils.scores.bootstrap import mean_interval

LEAKY = "siblings were learnt from"
COPIES = "every copy of unseen cells"
ONCE = "one copy of each unseen cell"
DRAWS = 20
CELLS = f"one copy of each, drawn {DRAWS} times"


def p_values_by_calibration(
    random: pd.DataFrame, source: pd.DataFrame, judged: pd.DataFrame, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Judge cells by sets that were calibrated in four ways.

    Parameters
    ----------
    random, source : DataFrame
        Predictions out of fold, from `leak.compare_schemes`: folds of images, and of cells.
    judged : DataFrame
        Predictions for cells that were not learnt from, N rows.
    seed : int
        Draws the copies.

    Returns
    -------
    dict of str to array, shape (N, K)
        The p-value of each class for each image.
    """
    probs = from_predictions(judged)[1]
    index, unseen, _, cells = from_predictions(source)
    index_random, seen, _, _ = from_predictions(random)
    drawn = []
    for draw in range(DRAWS):
        rows = one_copy_a_cell(list(cells), seed=seed + draw)
        drawn.append(PredictionSets.fit(unseen[rows], index[rows]).p_values(probs))
    return {
        LEAKY: PredictionSets.fit(seen, index_random).p_values(probs),
        COPIES: PredictionSets.fit(unseen, index).p_values(probs),
        ONCE: drawn[0],
        CELLS: np.mean(drawn, axis=0),
    }


def covered(
    members: np.ndarray,
    judged: pd.DataFrame,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Count how often sets hold the true class, and how large they are.

    Parameters
    ----------
    members : array, shape (N, K), bool
        The sets.
    judged : DataFrame
        Predictions with `label` and `cell`, N rows.
    level, n_resamples, seed
        Of the intervals, see `bootstrap.mean_interval`; cells are resampled.

    Returns
    -------
    dict
        `image` and `cell` (each with `value`, `low`, `high`), `size` (classes in a set on average),
        `single` and `empty` (shares of the sets), `by_class` (by image).
    """
    index, _, classes, cells = from_predictions(judged)
    held = members[np.arange(len(index)), index].astype(float)
    options = {"level": level, "n_resamples": n_resamples, "seed": seed}
    by_cell = pd.Series(held).groupby(cells.to_numpy(object)).mean()
    sizes = members.sum(axis=1)
    return {
        "image": {"value": held.mean(), **mean_interval(held, list(cells), **options)},
        "cell": {"value": by_cell.mean(), **mean_interval(by_cell, by_cell.index, **options)},
        "size": sizes.mean(),
        "single": (sizes == 1).mean(),
        "empty": (sizes == 0).mean(),
        "by_class": {classes[k]: held[index == k].mean() for k in np.unique(index)},
    }


def narrowest(cells_of: Mapping[str, int], coverages: Sequence[float]) -> pd.DataFrame:
    """Return which classes sets can exclude at all, with so many calibration cells.

    A class is out of a set where its p-value is at most one less the coverage, and the smallest
    that n cells can give is 1 / (n + 1).

    Parameters
    ----------
    cells_of : mapping of str to int
        Calibration cells of each class.
    coverages : sequence of float

    Returns
    -------
    DataFrame
        A row a class: `cells`, and for each coverage `yes` or `never`.
    """
    rows = {
        name: {"cells": n}
        | {
            f"excluded at {100 * c:g} %": "yes" if 1 / (n + 1) <= 1 - c + 1e-12 else "never"
            for c in coverages
        }
        for name, n in cells_of.items()
    }
    return pd.DataFrame(rows).T
