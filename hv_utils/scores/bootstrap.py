"""The cluster bootstrap: whole cells are resampled, whatever is scored.

Copies of one cell are not independent, so cells are drawn, not images (Field and Welsh, 2007). A
resample is a weight for each cell: how often it was drawn. Weights come in blocks, so that memory
does not grow with the number of resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError

BLOCK = 500_000  # numbers that an array holds at most, where one resample leaves the choice


def cluster_codes(cells: Sequence[Any]) -> tuple[np.ndarray, int]:
    """Give each cell a number, and each image without a known cell one of its own.

    Parameters
    ----------
    cells : sequence, length N
        Source photo of each image, missing where unknown.

    Returns
    -------
    codes : array, shape (N,), int
        Cluster of each image.
    n_clusters : int
        Their number.
    """
    codes, names = pd.factorize(pd.Series(cells, dtype="string").to_numpy(object))
    missing = np.flatnonzero(codes < 0)
    codes[missing] = len(names) + np.arange(len(missing))
    return codes, len(names) + len(missing)


def resample(
    statistic: Callable[..., Mapping[Any, np.ndarray]],
    *sizes: int,
    width: int = 0,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[Any, np.ndarray]:
    """Score many resamples, drawn with replacement.

    Parameters
    ----------
    statistic : callable
        Takes weights of shape (r, n), float, one array for each of `sizes`, and returns named
        arrays whose first axis is r: the scores of r resamples.
    *sizes : int
        How many there are of what is drawn: cells, or repeats and cells.
    width : int
        Numbers that `statistic` holds for one resample, where these are more than the weights.
    n_resamples : int
        R, at least 100.
    seed : int
        Draws them. The same sizes and seed give the same weights, which makes differences paired.

    Returns
    -------
    dict of array, first axis R
        What `statistic` returns, of all resamples.

    Raises
    ------
    HematoVisionError
        For too few resamples.
    """
    if n_resamples < 100:
        raise HematoVisionError(
            f"expected at least 100 resamples, got {n_resamples}: 2000 are usual"
        )
    rng = np.random.default_rng(seed)

    def draw(n: int, rows: int) -> np.ndarray:
        return rng.multinomial(n, np.full(n, 1 / n), rows).astype(float)

    *outer, last = sizes
    whole = [draw(n, n_resamples) for n in outer]
    rows = max(1, BLOCK // max(width, last))
    parts = []
    for start in range(0, n_resamples, rows):
        stop = min(start + rows, n_resamples)
        parts.append(statistic(*(part[start:stop] for part in whole), draw(last, stop - start)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentiles(values: np.ndarray, *, level: float = 0.95) -> dict[str, float | None]:
    """Return the percentile interval of resampled scores.

    Parameters
    ----------
    values : array, shape (R,), float
        NaN, where a resample does not define the score, is left out.
    level : float
        Share of the resamples inside the interval, between 0 and 1.

    Returns
    -------
    dict
        `low` and `high`, both None where no value is defined.

    Raises
    ------
    HematoVisionError
        For a level out of range.
    """
    if not 0 < level < 1:
        raise HematoVisionError(f"expected a level between 0 and 1, got {level}: 0.95 is usual")
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return {"low": None, "high": None}
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}


def mean_interval(
    values: Sequence[float],
    cells: Sequence[Any],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float | None]:
    """Return the interval of a mean over images, with cells resampled.

    Parameters
    ----------
    values : sequence of float, length N
        One for each image; NaN is left out.
    cells : sequence, length N
        Source photo of each image; an image without one is a cell by itself.
    level, n_resamples, seed
        As in `percentiles` and `resample`.

    Returns
    -------
    dict
        `low` and `high`, both None where there are no values.
    """
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    if not there.any():
        return {"low": None, "high": None}
    codes, n_clusters = cluster_codes(np.asarray(cells, object)[there])
    sums = np.bincount(codes, values[there], n_clusters)
    counts = np.bincount(codes, minlength=n_clusters)
    drawn = resample(
        lambda weights: {"mean": weights @ sums / (weights @ counts)},
        n_clusters,
        n_resamples=n_resamples,
        seed=seed,
    )
    return percentiles(drawn["mean"], level=level)


def in_words(score: Mapping[str, Any], *, key: str = "value", signed: bool = False) -> str:
    """Write a score with its interval, such as `0.812 (0.700 to 0.900)`.

    Parameters
    ----------
    score : mapping
        `low` and `high`, None where there is no interval, and the score itself.
    key : str
        What the score itself is called in `score`.
    signed : bool
        Write the sign of a difference, also where it is above 0.
    """
    form = "+.3f" if signed else ".3f"
    if score["low"] is None:
        return f"{score[key]:{form}}"
    return f"{score[key]:{form}} ({score['low']:{form}} to {score['high']:{form}})"
