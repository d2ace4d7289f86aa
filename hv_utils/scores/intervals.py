"""How far a score can be trusted: cluster bootstrap and leave-one-cell-out.

Copies of one cell are not independent, so cells are resampled, not images (Field and Welsh, 2007).
A resample is a weight for each cell; all resamples are scored at once from weighted confusion
matrices and weighted rankings. Percentile intervals are a little short where a class has a handful
of cells: in a simulation with 13, 6, 4 and 48 cells (tests/test_intervals.py repeats it) nine in
ten of the 95 % intervals held the true macro-F1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError

_CHUNK = 100  # resamples scored at once: bounds the memory at about 100 N numbers


def scores_from_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every score that a confusion matrix holds, for one matrix or many at once.

    Parameters
    ----------
    confusion : array, shape (..., K, K), float or int, ≥ 0
        Weighted counts, rows true, columns predicted.

    Returns
    -------
    dict of str to array
        `accuracy`, `balanced_accuracy`, `macro_precision`, `macro_recall`, `macro_f1` of shape
        (...), and `precision`, `recall`, `f1` of shape (..., K). A class that has no true image is
        NaN and left out of the means; a class that is never predicted has precision 0.
    """
    confusion = np.asarray(confusion, float)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    absent = true == 0
    total = confusion.sum((-2, -1))

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(absent, np.nan, part / np.where(whole > 0, whole, 1))

    per_class = {
        "precision": share(right, predicted),
        "recall": share(right, true),
        "f1": share(2 * right, true + predicted),
    }
    present = np.maximum((~absent).sum(-1), 1)
    macro = {f"macro_{name}": np.nansum(v, -1) / present for name, v in per_class.items()}
    return {
        "accuracy": right.sum(-1) / np.where(total > 0, total, 1),
        "balanced_accuracy": macro["macro_recall"],
        **macro,
        **per_class,
    }


def ranking_scores(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute area under the ROC curve and average precision for many weightings at once.

    Parameters
    ----------
    positive : array, shape (N,), bool
        True where the image has the class.
    score : array, shape (N,), float
        Probability of the class.
    weights : array, shape (R, N), float, ≥ 0
        One row a resample.

    Returns
    -------
    tuple of array, shape (R,)
        ROC area and average precision, as scikit-learn defines them with `sample_weight`; NaN
        where a resample lacks positives or negatives.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # last of each tie
    hits = np.cumsum(weights[:, order] * positive[order], axis=1)[:, ends]
    misses = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / hits[:, -1:]
        fall_out = misses / misses[:, -1:]
        steps = np.diff(recall, axis=1, prepend=0)
        before = np.concatenate([np.zeros((len(recall), 1)), recall[:, :-1]], axis=1)
        rises = np.diff(fall_out, axis=1, prepend=0)
        area = (rises * (recall + before) / 2).sum(1)
        shown = hits + misses
        precision = hits / np.where(shown > 0, shown, 1)
    return area, (steps * precision).sum(1)


def cluster_codes(cells: Sequence[Any] | None, n_images: int) -> tuple[np.ndarray, int, bool]:
    """Give each cell a number, and each image without a known cell one of its own.

    Parameters
    ----------
    cells : sequence or None, length N
        Source photo of each image, missing where unknown.
    n_images : int
        N.

    Returns
    -------
    codes : array, shape (N,), int
        Cluster of each image.
    n_clusters : int
        Their number.
    known : bool
        False where no cell is known, so that clusters are images.
    """
    if cells is None:
        return np.arange(n_images), n_images, False
    codes, names = pd.factorize(np.asarray(pd.Series(cells, dtype="string"), object))
    if len(codes) != n_images:
        raise HematoVisionError(
            f"expected a cell for each of {n_images} images, got {len(codes)}: "
            "labels, probabilities and cells must come from the same rows"
        )
    missing = np.flatnonzero(codes < 0)
    codes[missing] = len(names) + np.arange(len(missing))
    return codes, len(names) + len(missing), len(names) > 0


def resampled_scores(
    labels: np.ndarray, pred_probs: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Score the predictions under many weightings of their clusters.

    Parameters
    ----------
    labels : array, shape (N,), int
        Position of the true class, 0 … K-1.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    codes : array, shape (N,), int
        Cluster of each image, 0 … C-1.
    weights : array, shape (R, C), float, ≥ 0
        How often each cluster counts in each resample.

    Returns
    -------
    dict of str to array
        What `scores_from_confusion` gives, with `roc_auc` and `average_precision` (one class
        against the rest, mean over the classes), first axis R.
    """
    k, n_clusters = pred_probs.shape[1], weights.shape[1]
    flat = (codes * k + labels) * k + pred_probs.argmax(1)
    counts = np.bincount(flat, minlength=n_clusters * k * k).reshape(n_clusters, k * k)
    scores = scores_from_confusion((weights @ counts).reshape(-1, k, k))
    area, average = np.empty((2, len(weights), k))
    for start in range(0, len(weights), _CHUNK):
        part = slice(start, start + _CHUNK)
        each = weights[part][:, codes].astype(float)
        for j in range(k):
            area[part, j], average[part, j] = ranking_scores(labels == j, pred_probs[:, j], each)
    for name, values in (("roc_auc", area), ("average_precision", average)):
        known = ~np.isnan(values)
        scores[name] = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
    return scores


def bootstrap_interval(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    classes: Sequence[str],
    cells: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Give each score its interval, by resampling cells with replacement.

    Parameters
    ----------
    labels : array, shape (N,), int
        Position of the true class in `classes`.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities, columns in the order of `classes`.
    classes : sequence of str
        Class names.
    cells : sequence, length N, optional
        Source photo of each image; an image without one is a cluster by itself, and where none is
        known images are resampled, which the entry `method` then says.
    level : float
        Share of the resamples inside the interval, between 0 and 1.
    n_resamples : int
        Number of resamples, at least 100.
    seed : int
        Draws them.

    Returns
    -------
    dict of str to dict
        For each score (`f1_<class>` for the classes) `low`, `high`, `level`, `method`,
        `n_resamples`, `n_clusters`. Percentile interval; resamples that lack a class leave it out
        of their means.

    Raises
    ------
    HematoVisionError
        For a level or a number of resamples out of range.
    """
    if not 0 < level < 1 or n_resamples < 100:
        raise HematoVisionError(
            f"expected a level between 0 and 1 and at least 100 resamples, got {level} and "
            f"{n_resamples}: 0.95 and 2000 are usual"
        )
    codes, n_clusters, known = cluster_codes(cells, len(labels))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_resamples)
    scores = resampled_scores(np.asarray(labels), np.asarray(pred_probs), codes, weights)
    about = {
        "level": level,
        "method": "cluster bootstrap over cells" if known else "bootstrap over images",
        "n_resamples": n_resamples,
        "n_clusters": n_clusters,
    }
    intervals = {}
    for name, values in scores.items():
        if values.ndim == 1:
            intervals[name] = _percentiles(values, level) | about
    for j, label in enumerate(classes):
        intervals[f"f1_{label}"] = _percentiles(scores["f1"][:, j], level) | about
    return intervals


def _percentiles(values: np.ndarray, level: float) -> dict[str, float | None]:
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return {"low": None, "high": None}
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}


def leave_one_cell_out(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    classes: Sequence[str],
    cells: Sequence[Any],
    *,
    score: str = "macro_f1",
) -> pd.DataFrame:
    """Measure how the score moves when one cell is left out.

    Parameters
    ----------
    labels, pred_probs, classes
        As in `bootstrap_interval`.
    cells : sequence, length N
        Source photo of each image; images without one stay in throughout.
    score : str
        One of the scores of `scores_from_confusion` or `resampled_scores`.

    Returns
    -------
    DataFrame
        One row a cell, the most influential first: `cell`, `label`, `n_images`, `share_right`,
        the score without the cell, and `change` against the score of all.
    """
    cells = pd.Series(cells, dtype="string").to_numpy(dtype=object)
    codes, n_clusters, _ = cluster_codes(cells, len(labels))
    weights = np.vstack([np.ones(n_clusters), 1 - np.eye(n_clusters)])
    values = resampled_scores(labels, pred_probs, codes, weights)[score]
    right = pred_probs.argmax(1) == labels
    rows = pd.DataFrame({"cell": cells, "code": codes, "label": labels, "right": right})
    table = (
        rows[rows["cell"].notna()]
        .groupby("cell")
        .agg(
            code=("code", "first"),
            label=("label", lambda column: column.mode()[0]),
            n_images=("right", "size"),
            share_right=("right", "mean"),
        )
        .reset_index()
    )
    table["label"] = np.asarray(classes, object)[table["label"].to_numpy(dtype=int)]
    table[score] = values[1:][table["code"]]
    table["change"] = table[score] - values[0]
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].drop(columns="code").reset_index(drop=True)


def verdict(interval: dict[str, Any], *, claim: float) -> dict[str, Any]:
    """Judge a claimed score by the interval of the measured one.

    Parameters
    ----------
    interval : dict
        `low` and `high`.
    claim : float
        The score claimed.

    Returns
    -------
    dict
        `claim`, `verdict` and `rule`: *confirmed* where the whole interval is at or above the
        claim, *not confirmed* where the whole interval is below it, else *undecided*. An interval
        without width decides nothing: with every verdict right, resampling cannot see how sure
        that is.
    """
    low, high = interval["low"], interval["high"]
    word = "undecided"
    if low is not None and low < high:
        word = "confirmed" if low >= claim else "not confirmed" if high < claim else word
    rule = (
        "confirmed if the whole interval lies at or above the claim, not confirmed if the whole "
        "interval lies below it, undecided if it holds the claim or has no width"
    )
    return {"claim": claim, "verdict": word, "rule": rule}
