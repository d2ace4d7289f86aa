"""Siblings: copies of one cell on both sides of a leaking split, found as nearest neighbours."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def nearest_training_images(
    features: np.ndarray, fold: tuple[np.ndarray, np.ndarray], *, n: int = 5
) -> np.ndarray:
    """Find, for each test image of a fold, the training images that look most like it.

    Parameters
    ----------
    features : array, shape (N, D)
    fold : pair of int arrays
        Positions of the training and of the test rows.
    n : int
        Neighbours wanted; at most as many as there are training images are found.

    Returns
    -------
    array, shape (len(test), n), int
        Positions of training rows, the nearest first: Euclidean distance between features scaled
        as the probe scales them.
    """
    train, test = fold
    scale = StandardScaler().fit(features[train])
    search = NearestNeighbors(n_neighbors=min(n, len(train)), algorithm="brute")
    search.fit(scale.transform(features[train]))
    return train[search.kneighbors(scale.transform(features[test]), return_distance=False)]


def sibling_share(table: pd.DataFrame, test: np.ndarray, neighbours: np.ndarray) -> float:
    """Return the share of test images whose nearest training image is a copy of the same cell.

    NaN where no source is known.

    Parameters
    ----------
    table : DataFrame
        Image table with `cell`, and `group` where known; rows without a source are not counted.
    test : array, shape (M,), int
        Positions of the test rows.
    neighbours : array, shape (M, n), int
        From `nearest_training_images`.
    """
    groups = _groups(table)
    known = pd.notna(groups[test])
    if not known.any():
        return float("nan")
    return float((groups[test] == groups[neighbours[:, 0]])[known].mean())


def neighbour_table(
    table: pd.DataFrame, features: np.ndarray, folds: Mapping[str, Folds]
) -> pd.DataFrame:
    """Say, for the first fold of each scheme, what the nearest training image gives away.

    Parameters
    ----------
    table : DataFrame
        Image table with `label` and `cell`.
    features : array, shape (N, D)
        Its rows.
    folds : mapping of str to folds
        For each scheme what `leak.scheme_folds` gives.

    Returns
    -------
    DataFrame
        One row a scheme: `sibling` (share of test images whose nearest training image is a copy
        of the same cell, NaN where cells are not known) and `same_class`.
    """
    labels = table["label"].to_numpy(object)
    rows = {}
    for scheme, cuts in folds.items():
        found = nearest_training_images(features, cuts[0], n=1)
        test = cuts[0][1]
        rows[scheme] = {
            "sibling": sibling_share(table, test, found),
            "same_class": float((labels[found[:, 0]] == labels[test]).mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["sibling", "same_class"])


def example(
    table: pd.DataFrame,
    features: np.ndarray,
    folds: Mapping[str, Folds],
    *,
    seed: int,
    n: int = 5,
) -> tuple[list[int], list[str]]:
    """Choose one test image, and find its nearest training images under each scheme.

    Parameters
    ----------
    table, features, folds
        As in `neighbour_table`; the first scheme chooses.
    seed : int
        Draws the image, from those of the first fold whose nearest neighbour is a sibling (from
        all where none is).
    n : int
        Neighbours wanted.

    Returns
    -------
    positions : list of int
        For each scheme the image itself, then its neighbours.
    titles : list of str
        For each its class, and the cell or that it is a sibling.
    """
    groups, labels = _groups(table), table["label"].to_numpy(object)
    first = next(iter(folds.values()))[0]
    nearest = nearest_training_images(features, first, n=1)[:, 0]
    siblings = first[1][groups[first[1]] == groups[nearest]]
    pool = siblings if len(siblings) else first[1]
    chosen = int(np.random.default_rng(seed).choice(pool))
    positions, titles = [], []
    for cuts in folds.values():
        fitted = next(train for train, test in cuts if chosen in test)
        found = nearest_training_images(features, (fitted, np.array([chosen])), n=n)[0]
        positions += [chosen, *map(int, found)]
        titles.append(f"tested: {labels[chosen]}\ncell {groups[chosen]}")
        titles += [
            f"{labels[j]}\n" + ("a sibling" if groups[j] == groups[chosen] else f"cell {groups[j]}")
            for j in found
        ]
    return positions, titles


def _groups(table: pd.DataFrame) -> np.ndarray:
    groups = table["group" if "group" in table else "cell"].astype("string")
    return groups.to_numpy(object, na_value=None)
