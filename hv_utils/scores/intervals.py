"""How far a score can be trusted: bootstrap intervals and leave-one-cell-out.

Many resamples are scored at once, from weighted confusion matrices and weighted rankings.
Percentile intervals are a little short where a class has a handful of cells: in a simulation with
13, 6, 4 and 48 cells (tests/scores/test_intervals.py repeats it) nine in ten of the 95 % intervals
held the true macro-F1.
"""

from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.predictions import clusters, from_predictions
from hv_utils.scores.bootstrap import cluster_codes, percentiles, resample


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


def confusion_by_cell(
    index: np.ndarray, pred_probs: np.ndarray, codes: np.ndarray, n_clusters: int
) -> np.ndarray:
    """Count the verdicts of each cell.

    Parameters
    ----------
    index : array, shape (N,), int
        Position of the true class, 0 … K-1.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    codes : array, shape (N,), int
        Cell of each image, 0 … C-1.
    n_clusters : int
        C.

    Returns
    -------
    array, shape (C, K, K), int
        Rows true, columns predicted.
    """
    shape = (n_clusters, pred_probs.shape[1], pred_probs.shape[1])
    flat = np.ravel_multi_index((codes, index, pred_probs.argmax(1)), shape)
    return np.bincount(flat, minlength=np.prod(shape)).reshape(shape)


def resampled_scores(
    index: np.ndarray,
    pred_probs: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    *,
    ranking: bool = True,
) -> dict[str, np.ndarray]:
    """Score the predictions under many weightings of their clusters.

    Parameters
    ----------
    index, pred_probs, codes
        As in `confusion_by_cell`.
    weights : array, shape (R, C), float, ≥ 0
        How often each cluster counts in each resample.
    ranking : bool
        Whether to score the rankings, too, which takes most of the time.

    Returns
    -------
    dict of str to array
        What `scores_from_confusion` gives, with `roc_auc` and `average_precision` (one class
        against the rest, mean over the classes), first axis R.
    """
    counts = confusion_by_cell(index, pred_probs, codes, weights.shape[1])
    scores = scores_from_confusion(np.tensordot(weights, counts, 1))
    if not ranking:
        return scores
    each = np.asarray(weights, float)[:, codes]
    ranked = [ranking_scores(index == j, column, each) for j, column in enumerate(pred_probs.T)]
    for name, values in zip(("roc_auc", "average_precision"), np.stack(ranked, 2), strict=True):
        known = ~np.isnan(values)
        scores[name] = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
    return scores


def bootstrap_interval(
    table: pd.DataFrame,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    ranking: bool = True,
) -> dict[str, dict[str, Any]]:
    """Give each score its interval, by resampling cells with replacement.

    Parameters
    ----------
    table : DataFrame
        Predictions: `label`, `prob_<class>`, and `cell` where known. An image without a cell is a
        cluster by itself; where none is known it is `group` that is resampled, or images where this
        is not known either. The entry `method` says which.
    level, n_resamples, seed
        As in `bootstrap.percentiles` and `bootstrap.resample`.
    ranking : bool
        As in `resampled_scores`.

    Returns
    -------
    dict of str to dict
        For each score (`f1_<class>` for the classes, `f1_spread` from the worst of them to the
        best) `low`, `high`, `level`, `method`, `n_resamples`, `n_clusters`. Percentile interval;
        resamples that lack a class leave it out.

    Raises
    ------
    HematoVisionError
        For a level or a number of resamples out of range, or no table of predictions.
    """
    index, pred_probs, classes, _ = from_predictions(table)
    names, unit = clusters(table)
    codes, n_clusters = cluster_codes(names)
    scores = resample(
        lambda weights: resampled_scores(index, pred_probs, codes, weights, ranking=ranking),
        n_clusters,
        width=len(table) if ranking else 0,
        n_resamples=n_resamples,
        seed=seed,
    )
    scores |= {f"f1_{label}": scores["f1"][:, j] for j, label in enumerate(classes)}
    scores["f1_spread"] = np.nanmax(scores["f1"], 1) - np.nanmin(scores["f1"], 1)
    about = {
        "level": level,
        "method": f"{'' if unit == 'images' else 'cluster '}bootstrap over {unit}",
        "n_resamples": n_resamples,
        "n_clusters": n_clusters,
    }
    return {
        name: percentiles(values, level=level) | about
        for name, values in scores.items()
        if values.ndim == 1
    }


def leave_one_cell_out(table: pd.DataFrame, *, score: str = "macro_f1") -> pd.DataFrame:
    """Measure how the score moves when one cell is left out.

    Parameters
    ----------
    table : DataFrame
        Predictions: `label`, `prob_<class>`, `cell`; images without a cell stay in throughout.
    score : str
        One of the scores of `scores_from_confusion` that is a single number.

    Returns
    -------
    DataFrame
        One row a cell, the most influential first: `cell`, `label`, `n_images`, `share_right`,
        the score without the cell, and `change` against the score of all.
    """
    index, pred_probs, classes, cells = from_predictions(table)
    codes, n_clusters = cluster_codes(cells)
    counts = confusion_by_cell(index, pred_probs, codes, n_clusters)
    whole, n_images = counts.sum(0), counts.sum((1, 2))
    without = scores_from_confusion(whole - counts)[score]
    every = pd.DataFrame(
        {
            "cell": pd.Series(cells.to_numpy(object), codes).groupby(level=0).first(),
            "label": np.asarray(classes, object)[counts.sum(2).argmax(1)],
            "n_images": n_images,
            "share_right": np.trace(counts, axis1=1, axis2=2) / n_images,
            score: without,
            "change": without - scores_from_confusion(whole)[score],
        }
    )
    known = every.dropna(subset=["cell"]).sort_values("cell")
    return known.sort_values("change", key=abs, ascending=False, kind="stable", ignore_index=True)
