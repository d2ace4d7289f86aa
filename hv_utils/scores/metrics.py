"""The scores of a run: per image, per cell, per class, with their intervals.

The contract of metrics.json: classes in alphabetical order, confusion matrix with rows true and
columns predicted. Single scores come from scikit-learn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn import metrics as sk

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import from_predictions, label_index, likeliest, prob_columns
from hv_utils.scores.calibration import log_loss
from hv_utils.scores.intervals import bootstrap_interval, leave_one_cell_out

HEADLINES = {
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "roc_auc": "ROC area",
    "average_precision": "average precision",
}


def score(
    labels: Sequence[str],
    pred_probs: np.ndarray,
    classes: Sequence[str],
    cells: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute what metrics.json holds, but for the calibration, which needs validation images.

    Parameters
    ----------
    labels : sequence of str, length N
        True classes.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities, rows summing to 1.
    classes : sequence of str, length K
        In alphabetical order, as the columns of `pred_probs`.
    cells : sequence, length N, optional
        Source photo of each image, missing where unknown.
    level, n_resamples, seed
        As in `intervals.bootstrap_interval`.

    Returns
    -------
    dict
        The keys of metrics.json (`n_images`, `n_cells`, `accuracy`, `macro_f1`,
        `balanced_accuracy`, `per_class`, `confusion_matrix`, `classes`), further scores
        (`macro_precision`, `macro_recall`, `roc_auc`, `average_precision`, `log_loss`),
        `intervals`, `per_cell` (the same for the averaged probabilities of each cell, or None
        where no cell is known) and `leave_one_cell_out` (or None).

    Raises
    ------
    HematoVisionError
        For shapes that do not fit, unknown labels, or rows that are no probabilities.
    """
    index, pred_probs = _checked(labels, pred_probs, classes)
    options = {"level": level, "n_resamples": n_resamples, "seed": seed}
    cells = pd.Series(pd.NA if cells is None else np.asarray(cells, object), range(len(index)))
    cells = cells.astype("string")
    result = {"n_images": len(index), "n_cells": int(cells.nunique()) or None}
    result |= point_scores(index, pred_probs, classes)
    result["intervals"] = bootstrap_interval(index, pred_probs, classes, cells, **options)
    result |= {"per_cell": None, "leave_one_cell_out": None}
    if cells.notna().any():
        result["per_cell"] = _cell_scores(index, pred_probs, classes, cells, options)
        left_out = leave_one_cell_out(index, pred_probs, classes, cells)
        low, high = left_out["macro_f1"].agg(["min", "max"])
        result["leave_one_cell_out"] = {
            "macro_f1": {"low": float(low), "high": float(high)},
            "most_influential": left_out.head(5).to_dict("records"),
        }
    return result


def _checked(
    labels: Sequence[str], pred_probs: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    pred_probs = np.asarray(pred_probs, float)
    if pred_probs.shape != (len(labels), len(classes)) or len(labels) == 0:
        raise HematoVisionError(
            f"expected probabilities of shape ({len(labels)}, {len(classes)}), one row an image "
            f"and one column a class, got {pred_probs.shape}: rows or classes are missing"
        )
    if list(classes) != sorted(classes):
        raise HematoVisionError(
            f"expected classes in alphabetical order, got {', '.join(classes)}: "
            "sort them and the columns of the probabilities"
        )
    sums = pred_probs.sum(1)
    if not (np.isfinite(sums).all() and np.abs(sums - 1).max() < 1e-3 and pred_probs.min() >= 0):
        bad = int(np.argmax(~(np.abs(sums - 1) < 1e-3) | (pred_probs.min(1) < 0)))
        raise HematoVisionError(
            f"expected rows of probabilities that sum to 1, got {pred_probs[bad].tolist()} in row "
            f"{bad}: logits need a softmax first, unreadable images no row"
        )
    return label_index(labels, classes), pred_probs


def point_scores(
    index: np.ndarray, pred_probs: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Score predictions once, without intervals.

    Parameters
    ----------
    index : array, shape (N,), int
        Position of the true class.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    classes : sequence of str, length K
        Class names.

    Returns
    -------
    dict
        The scores of `score`. Means go over the classes that have true images; the ranking scores
        are None where no class has both positives and negatives.
    """
    predicted = pred_probs.argmax(1)
    every = np.arange(len(classes))
    table = np.array(
        sk.precision_recall_fscore_support(index, predicted, labels=every, zero_division=0)
    )
    present = table[3] > 0
    precision, recall, f1 = table[:3, present].mean(1)
    columns = ("precision", "recall", "f1", "support")
    per_class = {
        name: dict(zip(columns, [*map(float, table[:3, j]), int(table[3, j])], strict=True))
        for j, name in enumerate(classes)
    }
    ranked = [j for j in every if 0 < table[3, j] < len(index)]
    rankings = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
    return {
        "accuracy": float(sk.accuracy_score(index, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "balanced_accuracy": float(recall),
        **{
            name: float(np.mean([measure(index == j, pred_probs[:, j]) for j in ranked]))
            if ranked
            else None
            for name, measure in rankings.items()
        },
        "log_loss": log_loss(index, pred_probs),
        "per_class": per_class,
        "confusion_matrix": sk.confusion_matrix(index, predicted, labels=every).tolist(),
        "classes": list(classes),
    }


def per_cell(table: pd.DataFrame, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Average the probabilities over the images of each cell.

    Parameters
    ----------
    table : DataFrame
        `cell`, `label` and `prob_<class>`; rows without a cell are left out.
    classes : sequence of str, optional
        As in `from_predictions`.

    Returns
    -------
    DataFrame
        One row a cell: `cell`, `label` (that of most of its images), `n_images`, `share_right`
        (of its images, 0…1), `prob_<class>` (means), `predicted`.
    """
    labels, probs, classes, cells = from_predictions(table, classes)
    names = prob_columns(classes)
    rows = pd.DataFrame(probs, columns=names).assign(cell=cells.to_numpy(object), label=labels)
    rows["right"] = likeliest(rows) == labels
    grouped = rows[rows["cell"].notna()].groupby("cell")
    means = grouped[names].mean()
    about = grouped.agg(n_images=("right", "size"), share_right=("right", "mean"))
    about.insert(0, "label", pd.crosstab(rows["cell"], rows["label"]).idxmax(axis=1))
    return about.join(means).assign(predicted=likeliest(means)).reset_index()


def _cell_scores(
    index: np.ndarray,
    pred_probs: np.ndarray,
    classes: Sequence[str],
    cells: pd.Series,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Score the cells, each with the mean of its images' probabilities."""
    table = pd.DataFrame(pred_probs, columns=prob_columns(classes))
    table = table.assign(label=np.asarray(classes, object)[index], cell=cells.to_numpy(object))
    cell_table = per_cell(table)
    labels, probs, _, names = from_predictions(cell_table, classes)
    truth = label_index(labels, classes)
    result = {"n_cells": len(cell_table)} | point_scores(truth, probs, classes)
    result["intervals"] = bootstrap_interval(truth, probs, classes, names, **options)
    right = int((probs.argmax(1) == truth).sum())
    result["accuracy_wilson"] = wilson(right, len(cell_table), level=options["level"])
    return result


def wilson(successes: int, trials: int, *, level: float = 0.95) -> dict[str, Any]:
    """Return Wilson's interval of a share (Wilson, 1927).

    It has a width even where every trial succeeds, where a bootstrap has none.
    """
    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return {"low": float(found.low), "high": float(found.high), "level": level, "method": "Wilson"}


def headline_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out the headline scores with their intervals, per image and per cell.

    Parameters
    ----------
    result : mapping
        What `score` gives, or the content of a metrics.json.

    Returns
    -------
    DataFrame
        `score` (its key), `name`, `level` ("per image" or "per cell"), `value`, `low`, `high`; no
        rows per cell where cells are not known.
    """
    parts = {"per image": result, "per cell": result.get("per_cell")}
    rows = [
        {"score": key, "name": name, "level": level, "value": part[key]}
        | {end: part["intervals"][key][end] for end in ("low", "high")}
        for level, part in parts.items()
        if part
        for key, name in HEADLINES.items()
    ]
    return pd.DataFrame(rows)


def confident_mistakes(table: pd.DataFrame, n: int = 8) -> pd.DataFrame:
    """Find the wrong verdicts with the highest confidence, one a cell.

    Parameters
    ----------
    table : DataFrame
        Predictions: `label`, `prob_<class>`, and `cell` where known.
    n : int
        Rows wanted at most.

    Returns
    -------
    DataFrame
        Rows of `table` with `predicted` and `confidence` set, the most confident first; of each
        cell the worst image only, since its copies fail together. Empty where all are right.
    """
    labels, probs, _, cells = from_predictions(table)
    chosen = table.assign(
        predicted=likeliest(table),
        confidence=probs.max(1),
        _once=cells.fillna(pd.Series(table.index.astype(str), table.index)).to_numpy(object),
    )
    wrong = chosen[chosen["predicted"].to_numpy(object) != labels]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable")
    return wrong.drop_duplicates("_once").drop(columns="_once").head(n)
