"""A differential: counts of kinds, their shares, and the limits that counting allows.

Of a hundred cells, counted without a mistake, chance alone leaves wide limits (Rümke 1960, 1979):
they are those of Clopper and Pearson (1934), which hold what they promise at any share and number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError

LEVEL = 0.95
STEPS = 200  # of the corrections of class balance, which seldom need fifty
RESAMPLES = 500


def exact_limits(count: float, total: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the limits of Clopper and Pearson (1934) of a share.

    Parameters
    ----------
    count, total : float
        Of cells; need not be whole where doubtful cells are shared out.
    level : float
        Between 0 and 1.

    Returns
    -------
    tuple of float
        Low and high, 0 to 1; of no cell at all (0, 1).
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = beta.ppf(tail, count, total - count + 1) if count > 0 else 0.0
    high = beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


def differential(counts: Mapping[str, float], *, level: float = LEVEL) -> dict[str, dict]:
    """Return shares with their limits.

    Parameters
    ----------
    counts : mapping of str to float
        Cells by kind.
    level : float

    Returns
    -------
    dict
        By kind `count`, `share`, `low` and `high`; the share is None without cells.
    """
    total = sum(counts.values())
    result = {}
    for kind, count in counts.items():
        low, high = exact_limits(count, total, level=level)
        share = count / total if total else None
        result[kind] = {"count": count, "share": share, "low": low, "high": high}
    return result


def ratio(first: int, second: int, *, level: float = LEVEL) -> dict[str, float | None]:
    """Return how many of one kind there are for each of another, with exact limits.

    Of both together the first have a share; its limits are Clopper and Pearson's, and a share p
    is a ratio of p / (1 - p).

    Parameters
    ----------
    first, second : int
        Cells counted in the same fields.
    level : float

    Returns
    -------
    dict
        `value`, `low` and `high`; None where there is nothing to divide by.
    """
    if not second:
        return {"value": None, "low": None, "high": None}
    low, high = (
        share / (1 - share) if share < 1 else None
        for share in exact_limits(first, first + second, level=level)
    )
    return {"value": first / second, "low": low, "high": high}


def rumke_table(
    totals: Sequence[int] = (100, 200, 500, 1000),
    shares: Sequence[float] = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6),
) -> Any:
    """Return Rümke's table: between what limits a share may truly lie that was counted.

    Returns
    -------
    pandas.DataFrame
        A row a share in per cent, a column a number of cells, with texts like `2–11`.
    """
    import pandas as pd

    def between(share: float, total: int) -> str:
        low, high = (100 * limit for limit in exact_limits(round(share * total), total))
        return f"{low:.0f}–{high:.0f}" if total < 500 else f"{low:.1f}–{high:.1f}"

    rows = [[between(share, total) for total in totals] for share in shares]
    index = pd.Index([f"{100 * share:g}" for share in shares], name="counted, %")
    return pd.DataFrame(rows, index=index, columns=[f"of {total:,}" for total in totals])


def rebalanced(
    pred_probs: np.ndarray, learnt: np.ndarray, *, seed: int = 0, level: float = LEVEL
) -> dict[str, np.ndarray]:
    """Estimate the shares behind probabilities that were learnt at other shares.

    The method of Saerens, Latinne and Decaestecker (2002): a model leans towards what was frequent
    in its training; the likeliest shares of what it sees now are found by expectation and
    maximisation.

    Parameters
    ----------
    pred_probs : numpy.ndarray, shape (N, K), float, rows sum to 1
        Of the cells counted.
    learnt : numpy.ndarray, shape (K,), float
        Shares of the classes in training, all above 0.
    seed : int
        Of the resampled cells.
    level : float

    Returns
    -------
    dict of numpy.ndarray, shape (K,), float
        `share`, `low` and `high`. The limits are exact ones of as many cells as the correction
        leaves: where resampled shares spread wider than a count's would, a cell says less than a
        cell. (Percentiles of the resamples would be empty for a kind that was not seen.)

    Raises
    ------
    HematoVisionError
        For shares that do not fit, and for no cells.
    """
    learnt = np.asarray(learnt, float)
    if pred_probs.ndim != 2 or pred_probs.shape[1] != len(learnt) or not (learnt > 0).all():
        raise HematoVisionError(
            f"expected a share above 0 of each of {pred_probs.shape[-1]} classes, but got "
            f"{learnt.tolist()}: give the class balance that the model was trained at"
        )
    if not len(pred_probs):
        raise HematoVisionError("expected cells to correct the shares of, but there is none")
    weights = pred_probs / (learnt / learnt.sum())
    n = len(weights)
    share = _likeliest_shares(weights, np.ones(n))
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    spread = np.stack([_likeliest_shares(weights, times) for times in drawn]).var(axis=0)
    at = np.clip(share, 1 / n, 1 - 1 / n)  # of a kind that was not seen a count spreads, too
    counted = at * (1 - at) / n
    left = n * np.where(spread > counted, counted / np.maximum(spread, 1e-12), 1.0)
    limits = [exact_limits(p * m, m, level=level) for p, m in zip(share, left, strict=True)]
    low, high = np.array(limits).T
    return {"share": share, "low": low, "high": high}


def _likeliest_shares(weights: np.ndarray, times: np.ndarray) -> np.ndarray:
    shares = np.full(weights.shape[1], 1 / weights.shape[1])
    for _ in range(STEPS):
        joint = weights * shares
        joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        renewed = times @ joint / times.sum()
        if np.abs(renewed - shares).max() < 1e-6:
            return renewed
        shares = renewed
    return shares
